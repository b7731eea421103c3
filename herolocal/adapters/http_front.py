"""A front for an HTTP server that checks no password: basic authentication on every request, plain and TLS on one port.

It forwards HTTP/1.1 with bodies of either framing, one request after the other; upgrades and pipelines are refused.
"""

import asyncio
import base64
import contextlib
import hmac
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from herolocal.adapters.tls_front import HOST, TLS_RECORD, Behind, Front, hand_over, peek
from herolocal.model.limits import HANDSHAKE_TIMEOUT

_HEAD_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_NO_BODY = (204, 304)
# Of one connection only, and what a browser's page could use to read the answers.
_DROPPED = ("connection", "keep-alive", "proxy-connection", "expect", "upgrade", "authorization", "access-control-")


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a message, in its words, and its headers."""

    line: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """A header's value, several joined by commas."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    @property
    def keeps_alive(self) -> bool:
        """Whether its sender wants to go on with this connection."""
        wish = self.get("connection").lower()
        return "close" not in wish and ("HTTP/1.1" in self.line or "keep-alive" in wish)


def http_front(behind: Behind) -> Front:
    """A front that lets in who knows the password."""

    async def serve(client: socket.socket) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            is_tls = await peek(client) == TLS_RECORD
        if is_tls and behind.context is None:
            return
        reader, writer = await _streams(client, behind.context if is_tls else None)
        session = _Session(reader, writer, behind)
        try:
            await session.run()
        finally:
            await session.close()

    return Front(serve)


async def _streams(
    client: socket.socket, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_HEAD_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, hand_over(client), ssl=context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT if context else None
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Session:
    """One client's connection, and the one to the server that goes with it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: Behind) -> None:
        self._reader, self._writer, self._behind = reader, writer, behind
        self._far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        pair = f"{behind.credentials.user}:{behind.credentials.password}".encode()
        self._expected = base64.b64encode(pair)

    async def run(self) -> None:
        """Request after request, until one side wants no more."""
        with contextlib.suppress(asyncio.LimitOverrunError):
            while await self._exchange():
                pass

    async def close(self) -> None:
        """Close both connections; what was written is flushed first."""
        if self._far is not None:
            self._far[1].close()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _exchange(self) -> bool:
        """One request and its response; False when the connection cannot go on."""
        request = _parse(await self._reader.readuntil(b"\r\n\r\n"))
        length = _body_length(request)
        if request is None or length is None:
            return await self._say("400 Bad Request", "This is not a request that can be forwarded.")
        if not self._is_allowed(request):
            return await self._say("401 Unauthorized", "Wrong user name or password.")
        if "100-continue" in request.get("expect").lower():
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            return await self._say("503 Service Unavailable", "The search server does not answer.")
        far_writer.write(_head(request.line, _forwarded(request.headers)))
        await _copy_body(self._reader, far_writer, length)
        return await self._respond(request, far_reader)

    def _is_allowed(self, request: Head) -> bool:
        scheme, _, given = request.get("authorization").partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(given.strip().encode(), self._expected)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._far is None or self._far[0].at_eof():
            self._far = await asyncio.open_connection(HOST, self._behind.port, limit=_HEAD_BYTES)
        return self._far

    async def _respond(self, request: Head, far: asyncio.StreamReader) -> bool:
        response = _parse(await far.readuntil(b"\r\n\r\n"))
        if response is None:
            return False
        status = int(response.line[1])
        has_body = request.line[0] != "HEAD" and status not in _NO_BODY
        length = _body_length(response) if has_body else 0
        until_end = has_body and not response.get("content-length") and length == 0
        goes_on = request.keeps_alive and response.keeps_alive and not until_end
        headers = (*_forwarded(response.headers), ("Connection", "keep-alive" if goes_on else "close"))
        self._writer.write(_head(response.line, headers))
        await _copy_body(far, self._writer, _UNTIL_END if until_end else length)
        return goes_on

    async def _say(self, status: str, text: str) -> bool:
        kind = "security_exception" if status.startswith("401") else "front_exception"
        body = f'{{"error":{{"type":"{kind}","reason":"{text}"}},"status":{status[:3]}}}'
        extra = 'WWW-Authenticate: Basic realm="security" charset="UTF-8"\r\n' if status.startswith("401") else ""
        self._writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n{extra}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        await self._writer.drain()
        return False


_CHUNKED = -1
_UNTIL_END = -2


def _parse(data: bytes) -> Head | None:
    first, *rest = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    line = tuple(first.split(" ", 2))
    pairs = [field.partition(":") for field in rest]
    if len(line) < 2 or any(not colon or name != name.strip() or not name for name, colon, _ in pairs):
        return None
    return Head(line, tuple((name, value.strip()) for name, _, value in pairs))


def _body_length(head: Head | None) -> int | None:
    """Bytes of the body, `_CHUNKED`, or None for what could be read in two ways."""
    if head is None:
        return None
    coding, length = head.get("transfer-encoding").lower(), head.get("content-length")
    if coding:
        return _CHUNKED if coding == "chunked" and not length else None
    if not length:
        return 0
    return int(length) if length.isascii() and length.isdigit() else None


def _forwarded(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in headers if not key.lower().startswith(_DROPPED))


def _head(line: tuple[str, ...], headers: Iterable[tuple[str, str]]) -> bytes:
    fields = (f"{name}: {value}" for name, value in headers)
    return "\r\n".join((" ".join(line), *fields, "", "")).encode("latin-1")


async def _copy_body(source: asyncio.StreamReader, sink: asyncio.StreamWriter, length: int | None) -> None:
    """Copy a body as it is framed; what is framed wrongly ends the connection."""
    if length == _CHUNKED:
        await _copy_chunks(source, sink)
    elif length == _UNTIL_END:
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    else:
        await _copy(source, sink, length or 0)
    await sink.drain()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, length: int) -> None:
    while length > 0:
        chunk = await source.read(min(length, _CHUNK))
        if not chunk:
            raise EOFError
        sink.write(chunk)
        await sink.drain()
        length -= len(chunk)


async def _copy_chunks(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Chunk after chunk, then the trailer."""
    while True:
        line = await source.readuntil(b"\r\n")
        digits = line.split(b";")[0].strip()
        if not digits.isalnum():
            raise ValueError("a chunk without a size")
        size = int(digits, 16)
        sink.write(line)
        if size == 0:
            break
        await _copy(source, sink, size + 2)
    while (line := await source.readuntil(b"\r\n")) != b"\r\n":
        sink.write(line)
    sink.write(b"\r\n")
