"""One connection from the router to a dyno: sends a request, hands the parsed response on, is kept for the next."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

import httptools

_HIGH_WATER = 1024 * 1024  # Heroku's response buffer; https://devcenter.heroku.com/articles/http-routing


class ResponseSink(Protocol):
    """What the exchange does with a response."""

    def response_head(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """True when no body follows (HEAD, 204, 304)."""
        ...

    def response_body(self, data: bytes) -> None: ...
    def response_complete(self) -> None: ...
    def response_raw(self, data: bytes) -> None: ...
    def response_failed(self, *, malformed: bool) -> None: ...
    def upstream_writable(self) -> None: ...
    def upstream_full(self) -> None: ...


class Upstream(asyncio.Protocol):
    """`begin` gives it an exchange; between two it is idle. `closed` is told when the dyno hangs up on it."""

    def __init__(self, closed: Callable[["Upstream"], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.alive = False
        self.idle_since = 0.0
        self.reusable = True
        self._closed = closed
        self._sink: ResponseSink | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._raw = False
        self._until_eof = False

    def begin(self, sink: ResponseSink) -> None:
        """From now on what comes is the response of this exchange."""
        self._sink = sink
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._reason = [], b""
        self._raw = self._until_eof = False
        self.reusable = True

    def end(self) -> None:
        """The exchange is over."""
        self._sink = None

    def go_raw(self) -> None:
        """After an upgrade: bytes, not HTTP."""
        self._raw = True
        self.reusable = False

    # asyncio.Protocol -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self.alive = True
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._sink is None:
            self.close()  # a dyno that speaks unasked is not to be trusted with the next request
        elif self._raw:
            self._sink.response_raw(data)
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if rest and self._sink is not None:
                self._sink.response_raw(rest)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError):
            sink, self._sink = self._sink, None
            self.close()
            if sink is not None:
                sink.response_failed(malformed=True)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._closed(self)
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._until_eof and exc is None:
            sink.response_complete()
        else:
            sink.response_failed(malformed=False)

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_full()

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_writable()

    def close(self) -> None:
        """Hang up."""
        self.alive = False
        if self.transport is not None:
            self.transport.abort()

    # httptools ------------------------------------------------------------------------------------------------------

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._sink is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        names = {name.lower(): value.lower() for name, value in self._headers}
        self.reusable = self._parser.should_keep_alive()
        self._until_eof = b"content-length" not in names and b"chunked" not in names.get(b"transfer-encoding", b"")
        if self._sink.response_head(status, self._reason or b"", self._headers):
            self._until_eof = False
            self._finish()

    def on_body(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.response_body(data)

    def on_message_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:
            self._headers, self._reason = [], b""
            return
        self._until_eof = False
        self._finish()

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.response_complete()
