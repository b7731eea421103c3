"""The router of one app: accepts plain and TLS connections on one port, parses requests, runs an exchange for each."""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import httptools

from herolocal.model.limits import ROUTER_HEADER_BYTES, ROUTER_HEADERS
from herolocal.platform.router import pages
from herolocal.platform.router.exchange import Exchange, Shared
from herolocal.wire import http1

MakeContext = Callable[[], ssl.SSLContext]
_TLS_HANDSHAKE = 0x16
_FIRST_BYTE_SECONDS = 60.0  # as long as an idle client connection may stay
_IDLE_SECONDS = 60.0
_PIPELINED = 8
_ACCEPTS = 64


class Connection(asyncio.Protocol):
    """One client connection; its requests are served one after the other."""

    def __init__(self, shared: Shared, owner: "Router", *, tls: bool) -> None:
        self.peer = b""
        self.port = b""
        self.tls = tls
        self.full = False
        self._shared = shared
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._reading: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._upgraded = False
        self._idle: asyncio.TimerHandle | None = None

    # asyncio.Protocol -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._owner.connections.add(self)
        peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.peer = str(peer[0]).encode() if peer else b"127.0.0.1"
        self.port = str(here[1]).encode() if here else b""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_idle()

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            if self._queue:
                self._queue[0].body(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded = True
            rest = data[upgrade.args[0] :]
            if rest and self._queue:
                self._queue[0].body(rest)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError):
            self._bad_request()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._stop_idle()
        self._owner.connections.discard(self)
        self._transport = None
        for exchange in list(self._queue):
            exchange.client_gone()
        self._queue.clear()

    def pause_writing(self) -> None:
        self.full = True
        if self._queue:
            self._queue[0].client_full()

    def resume_writing(self) -> None:
        self.full = False
        if self._queue:
            self._queue[0].client_writable()

    # httptools ------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._target, self._headers = b"", []
        self._stop_idle()

    def on_url(self, target: bytes) -> None:
        self._target += target
        if len(self._target) > ROUTER_HEADER_BYTES:
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= ROUTER_HEADERS or len(name) + len(value) > ROUTER_HEADER_BYTES:
            raise ValueError
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        head = http1.read_head(
            parser.get_method(),
            self._target,
            parser.get_http_version(),
            self._headers,
            keep_alive=parser.should_keep_alive(),
        )
        if head.method == b"CONNECT" or (not head.host and head.version == "1.1"):
            raise ValueError
        if head.expect and not self._expected(head.expect):
            raise ValueError
        if not http1.framed_for_all(self._headers):
            raise ValueError
        exchange = Exchange(self._shared, self, head)
        self._reading = exchange
        self._queue.append(exchange)
        if len(self._queue) == 1:
            self._owner.spawn(exchange)
        elif len(self._queue) > _PIPELINED:
            self.pause()

    def _expected(self, expect: bytes) -> bool:
        """Answer `100-continue` ourselves, as Heroku's router does."""
        if expect.lower() != b"100-continue":
            return False
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def on_body(self, data: bytes) -> None:
        if self._reading is not None:
            self._reading.body(data)

    def on_message_complete(self) -> None:
        if self._reading is not None:
            self._reading.body_complete()
            self._reading = None

    # Client ---------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and len(self._queue) <= _PIPELINED:
            self._transport.resume_reading()

    def finished(self, *, keep: bool) -> None:
        """The first exchange of the queue has ended; the next one starts, or the connection idles, or closes."""
        if self._queue:
            self._queue.popleft()
        if self._transport is None:
            return
        if not keep:
            self._queue.clear()
            self._transport.close()
        elif self._queue:
            self._owner.spawn(self._queue[0])
            self.resume()
        else:
            self._wait_idle()

    # ends -----------------------------------------------------------------------------------------------------------

    def _bad_request(self) -> None:
        expect = dict(self._headers).get(b"expect", b"")
        status = 417 if expect and expect.lower() != b"100-continue" else 400
        self.write(http1.page_bytes(status, pages.BAD_REQUEST, keep_alive=False, head_only=False))
        if self._queue:
            self._queue[0].client_gone()
        if self._transport is not None:
            self._transport.close()

    def _wait_idle(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._close_idle)

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def abort(self) -> None:
        """Hang up: the router ends."""
        if self._transport is not None:
            self._transport.abort()

    def _close_idle(self) -> None:
        if self._transport is not None and not self._queue:
            self._transport.close()


class Router:
    """`serve` runs until it is cancelled; sockets are closed with it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._group: asyncio.TaskGroup | None = None
        self._context: ssl.SSLContext | None = None
        self.connections: set[Connection] = set()

    async def serve(self, sockets: Sequence[socket.socket], tls: MakeContext | None) -> None:
        """Accept on all sockets until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for sock in sockets:
                    # Not sock_accept: uvloop's hands out sockets that are closed already.
                    loop.add_reader(sock.fileno(), self._accept, sock, tls)
                await loop.create_future()
        finally:
            self._group = None
            for connection in list(self.connections):
                connection.abort()
            for sock in sockets:
                loop.remove_reader(sock.fileno())
                sock.close()
            self._shared.pool.close()

    def _accept(self, sock: socket.socket, tls: MakeContext | None) -> None:
        """Take every connection that waits."""
        for _ in range(_ACCEPTS):
            try:
                client, _address = sock.accept()
            except OSError:  # none is left, or it has gone again, or no descriptor is free: the next event tells
                return
            client.setblocking(False)
            if self._group is not None:
                self._group.create_task(self._welcome(client, tls))

    async def _welcome(self, client: socket.socket, tls: MakeContext | None) -> None:
        """Tell TLS from plain HTTP by the first byte, without taking it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_FIRST_BYTE_SECONDS):
                first = await _peek(client)
                secure = self._secure(tls) if first == _TLS_HANDSHAKE else None
                if first is None:
                    client.close()
                    return
                await loop.connect_accepted_socket(
                    lambda: Connection(self._shared, self, tls=secure is not None), client, ssl=secure
                )
        except (TimeoutError, OSError, ssl.SSLError):
            client.close()

    def _secure(self, tls: MakeContext | None) -> ssl.SSLContext | None:
        """The TLS context, made with the first client that wants it."""
        if self._context is None and tls is not None:
            self._context = tls()
        return self._context

    def spawn(self, exchange: Exchange) -> None:
        """Let an exchange run, unless the router has ended."""
        if self._group is not None:
            self._group.create_task(exchange.run())


async def _peek(sock: socket.socket) -> int | None:
    """The first byte that waits to be read; None at end of file."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            first = sock.recv(1, socket.MSG_PEEK)
            return first[0] if first else None
        ready = asyncio.Event()
        loop.add_reader(sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(sock.fileno())
