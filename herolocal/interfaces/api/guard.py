"""Who may speak to the API: this machine's own programs with the token, never a web page."""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from herolocal.interfaces.api.problems import problem

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
OPEN_PATHS = ("/_herolocal/health",)
SECRET_PATHS = "/_herolocal/streams/"  # noqa: S105 - a path, no password
"""Paths that carry their own secret, as Heroku's logplex URLs do."""


class Guard:
    """ASGI middleware: an unknown Host is 403 (DNS rebinding), a missing or wrong token 401; no CORS headers ever."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        host = connection.headers.get("host", "").rpartition(":")[0] or connection.headers.get("host", "")
        if host not in LOCAL_HOSTS:
            await problem(403, "forbidden", f"The host {host!r} is not this machine.")(scope, receive, send)
        elif not self._may(connection):
            text = "Invalid credentials provided."
            await problem(401, "unauthorized", text)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may(self, connection: HTTPConnection) -> bool:
        path = connection.url.path
        if path in OPEN_PATHS or path.startswith(SECRET_PATHS):
            return True
        return any(hmac.compare_digest(given, self._token) for given in _tokens(connection))


def _tokens(connection: HTTPConnection) -> list[bytes]:
    """What the request offers: a bearer token, or either half of Basic credentials."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return [value.strip().encode()]
    if scheme.lower() != "basic":
        return []
    try:
        user, _, password = b64decode(value, validate=True).partition(b":")
    except (Base64Error, ValueError):
        return []
    return [user, password]
