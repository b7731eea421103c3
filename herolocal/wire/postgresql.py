"""PostgreSQL's wire protocol, as far as a TLS front and a readiness check need it: startup, SCRAM-SHA-256, one query.

https://www.postgresql.org/docs/17/protocol-flow.html and RFC 5802; no channel binding, no certificate login.
"""

import base64
import hashlib
import hmac
import struct
from collections.abc import Mapping

SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102
VERSION_3 = 196608
STARTUP_BYTES = 10_000  # PostgreSQL's own limit
ALPN = "postgresql"

AUTHENTICATION = b"R"
ERROR = b"E"
READY_FOR_QUERY = b"Z"
AUTH_OK, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL = 0, 10, 11, 12
_ITERATIONS = 4096


def startup_head(data: bytes) -> tuple[int, int]:
    """Length (of the whole packet) and code of a startup packet's first eight bytes."""
    length, code = struct.unpack("!II", data)
    return length, code


def startup_parameters(rest: bytes) -> dict[str, str]:
    """The parameters of a StartupMessage, without its first eight bytes: `user`, `database`, …"""
    words = [word.decode("utf-8", "replace") for word in rest.split(b"\0")]
    return dict(zip(words[0::2], words[1::2], strict=False))


def startup(parameters: Mapping[str, str]) -> bytes:
    """A StartupMessage of protocol 3.0."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, VERSION_3) + body


def ssl_request() -> bytes:
    """The question whether the server speaks TLS."""
    return struct.pack("!II", 8, SSL_REQUEST)


def message(kind: bytes, body: bytes) -> bytes:
    """Any message after startup."""
    return kind + struct.pack("!I", len(body) + 4) + body


def error_response(code: str, text: str) -> bytes:
    """A fatal error, as the server says it before it closes the connection."""
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": text}
    return message(ERROR, b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse: `C` is the SQLSTATE, `M` the message."""
    return {field[:1].decode(): field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}


def query(text: str) -> bytes:
    """A simple query."""
    return message(b"Q", text.encode() + b"\0")


def no_encryption(host: str, parameters: Mapping[str, str]) -> str:
    """What PostgreSQL says to a plain connection where only `hostssl` lines are."""
    user = parameters.get("user", "")
    database = parameters.get("database") or user
    return f'no pg_hba.conf entry for host "{host}", user "{user}", database "{database}", no encryption'


class Scram:
    """The client's side of SCRAM-SHA-256. `nonce` must be fresh and unpredictable."""

    def __init__(self, password: str, nonce: str) -> None:
        self._password = password
        self._nonce = nonce
        self._bare = f"n=,r={nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        """The body of SASLInitialResponse."""
        data = f"n,,{self._bare}".encode()
        return b"SCRAM-SHA-256\0" + struct.pack("!I", len(data)) + data

    def final(self, challenge: bytes) -> bytes:
        """The body of SASLResponse to the server's challenge; raises ValueError when that is none."""
        fields = _fields(challenge)
        nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"]), int(fields["i"])
        if not nonce.startswith(self._nonce):
            raise ValueError("the server answered another client's nonce")
        keys = _keys(self._password, salt, iterations)
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare},{challenge.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(keys[0]).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(keys[0], signature, strict=True))
        self._server_signature = hmac.digest(keys[1], signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, outcome: bytes) -> bool:
        """Whether the server knows the password too."""
        return hmac.compare_digest(base64.b64decode(_fields(outcome).get("v", "")), self._server_signature)


def verifier(password: str, salt: bytes) -> str:
    """What `CREATE ROLE … PASSWORD` takes instead of the password itself."""
    client, server = _keys(password, salt, _ITERATIONS)
    stored = base64.b64encode(hashlib.sha256(client).digest()).decode()
    return f"SCRAM-SHA-256${_ITERATIONS}:{base64.b64encode(salt).decode()}${stored}:{base64.b64encode(server).decode()}"


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256")


def _fields(data: bytes) -> dict[str, str]:
    return {part[:1]: part[2:] for part in data.decode().split(",")}
