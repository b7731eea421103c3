"""How Elasticsearch's file realm writes a password down."""

import base64
import hashlib

SALT_BYTES = 32
_ROUNDS = 10_000


def password_hash(password: str, salt: bytes) -> str:
    """A line's second half in the `users` file; `salt` has `SALT_BYTES`.

    https://www.elastic.co/guide/en/elasticsearch/reference/8.19/security-settings.html#hashing-settings, `pbkdf2`.
    """
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, dklen=32)
    return f"{{PBKDF2}}{_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
