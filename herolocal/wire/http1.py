"""HTTP/1.1 heads as the router rewrites them: requests on their way to a dyno, responses on their way back.

Source of the rules: https://devcenter.heroku.com/articles/http-routing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[bytes, bytes]]

VIA = b"1.1 heroku-router"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9+/=-]{20,200}")
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
    }
)
_REPLACED = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-request-start",
        b"x-request-id",
        b"via",
        b"host",
        b"content-length",
    }
)
_DROPPED_FROM_REQUEST = _HOP_BY_HOP | _REPLACED
_DROPPED_FROM_RESPONSE = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"via"})
REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    417: b"Expectation Failed",
    499: b"Client Closed Request",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a client asked, as parsed. Header names are lower-case; `length` is the content-length, -1 without."""

    method: bytes
    target: bytes
    version: str
    headers: Headers
    host: bytes
    length: int
    chunked: bool
    upgrade: bytes
    expect: bytes
    forwarded_for: bytes
    request_id: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Hop:
    """What the router adds: the client's address, the true scheme and port, its own request id, the time in ms."""

    client: bytes
    scheme: bytes
    port: bytes
    request_id: bytes
    start: bytes


def read_head(method: bytes, target: bytes, version: str, headers: Headers, *, keep_alive: bool) -> RequestHead:
    """Gather what the rules look at in one pass."""
    found: dict[bytes, bytes] = {}
    forwarded: list[bytes] = []
    for name, value in headers:
        if name == b"x-forwarded-for":
            forwarded.append(value)
        else:
            found.setdefault(name, value)
    length = found.get(b"content-length", b"")
    return RequestHead(
        method=method,
        target=target,
        version=version,
        headers=headers,
        host=found.get(b"host", b""),
        length=int(length) if length.isdigit() else -1,
        chunked=found.get(b"transfer-encoding", b"").lower() == b"chunked",
        upgrade=found.get(b"upgrade", b"") if b"upgrade" in found.get(b"connection", b"").lower() else b"",
        expect=found.get(b"expect", b""),
        forwarded_for=b", ".join(forwarded),
        request_id=found.get(b"x-request-id", b""),
        keep_alive=keep_alive,
    )


def framed_for_all(headers: Headers) -> bool:
    """Whether every server reads the same body: no transfer coding but a single `chunked` (RFC 9112, 6.1)."""
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    return codings in ([], [b"chunked"])


def accepted_request_id(given: bytes) -> bool:
    """Whether a client's X-Request-Id is kept: 20 to 200 characters of a small alphabet.

    https://devcenter.heroku.com/articles/http-request-id
    """
    return _REQUEST_ID.fullmatch(given) is not None


def forwarded_for(head: RequestHead, hop: Hop) -> bytes:
    """The client's address appended on the right of what came."""
    return head.forwarded_for + b", " + hop.client if head.forwarded_for else hop.client


def request_bytes(head: RequestHead, hop: Hop) -> bytes:
    """The head that goes to the dyno, always HTTP/1.1."""
    parts = [head.method, b" ", head.target, b" HTTP/1.1\r\nHost: ", head.host, b"\r\n"]
    for name, value in head.headers:
        if name not in _DROPPED_FROM_REQUEST:
            parts += (name, b": ", value, b"\r\n")
    parts += (
        b"X-Request-Id: ", hop.request_id,
        b"\r\nX-Forwarded-For: ", forwarded_for(head, hop),
        b"\r\nX-Forwarded-Proto: ", hop.scheme,
        b"\r\nX-Forwarded-Port: ", hop.port,
        b"\r\nVia: ", VIA,
        b"\r\nX-Request-Start: ", hop.start,
    )  # fmt: skip
    if head.chunked:
        parts.append(b"\r\nTransfer-Encoding: chunked")
    elif head.length >= 0:
        parts.append(b"\r\nContent-Length: %d" % head.length)
    if head.upgrade:
        parts += (b"\r\nConnection: upgrade\r\nUpgrade: ", head.upgrade)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)


def response_bytes(
    status: int, reason: bytes, headers: Headers, *, chunked: bool, keep_alive: bool, upgrade: bool
) -> bytes:
    """The head that goes to the client."""
    parts = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
    has_server = False
    for name, value in headers:
        lower = name.lower()
        has_server |= lower == b"server"
        if lower not in _DROPPED_FROM_RESPONSE and (upgrade or lower != b"upgrade"):
            parts += (name, b": ", value, b"\r\n")
    if not has_server:
        parts.append(b"Server: Heroku\r\n")
    parts += (b"Via: ", VIA, b"\r\n")
    if chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if upgrade:
        parts.append(b"Connection: upgrade\r\n")
    elif not keep_alive:
        parts.append(b"Connection: close\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def page_bytes(status: int, body: bytes, *, keep_alive: bool, head_only: bool) -> bytes:
    """A whole response of the router's own."""
    reason = REASONS.get(status, b"Error")
    connection = b"" if keep_alive else b"Connection: close\r\n"
    head = (
        b"HTTP/1.1 %d %s\r\nServer: Heroku\r\nVia: %s\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Cache-Control: no-cache, no-store\r\nContent-Length: %d\r\n%s\r\n"
    ) % (status, reason, VIA, len(body), connection)
    return head if head_only else head + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def values(headers: Headers, name: bytes) -> Iterable[bytes]:
    """All values of a header, whatever the case of its name."""
    return (value for key, value in headers if key.lower() == name)
