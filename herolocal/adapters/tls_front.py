"""TLS before servers that have none: listens on 127.0.0.1, negotiates as the real server would, relays both ways.

A connection without TLS is refused in the words of the protocol, and told to `on_refused`.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from herolocal.contracts.network import Ports
from herolocal.contracts.server import Credentials
from herolocal.model.limits import HANDSHAKE_TIMEOUT
from herolocal.wire import postgresql

HOST = "127.0.0.1"
TLS_RECORD = 0x16  # the first byte of every ClientHello
_BACKLOG = 256
_ROUNDS = 3  # GSSENCRequest, SSLRequest, startup
Serve = Callable[[socket.socket], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Behind:
    """The plain server behind a front: its port, who may use it, and who hears of refused plain connections.

    `context` is the TLS of the front; None leaves everything plain.
    """

    port: int
    credentials: Credentials
    context: ssl.SSLContext | None
    on_refused: Callable[[str], None]


class Front:
    """Accepts connections and hands each to `serve`, which owns its socket; `close` ends them all."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._task: asyncio.Task[None] | None = None

    def open(self, ports: Ports) -> int:
        """Listen, from now on; returns the port."""
        listener = _listen(ports)
        self._task = asyncio.get_running_loop().create_task(self._accept(listener))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Stop listening and break what is open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        client, _ = await loop.sock_accept(listener)
                    except OSError as error:  # too many open files: others will close
                        logging.getLogger("herolocal").warning("accepting a connection to an add-on: %s", error)
                        await asyncio.sleep(1)
                        continue
                    client.setblocking(False)
                    group.create_task(self._one(client))

    async def _one(self, client: socket.socket) -> None:
        """One connection; whatever its client does ends here."""
        try:
            await self._serve(client)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            logging.getLogger("herolocal").debug("a connection to an add-on: %s", error)
        except Exception:
            logging.getLogger("herolocal").exception("a connection to an add-on")
        finally:
            client.close()


def _listen(ports: Ports) -> socket.socket:
    """A port from below the ephemeral range; another one when somebody was faster."""
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, ports.lend()))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            continue
        return listener


# the first bytes, taken from the socket itself so that none is lost when TLS takes over -------------------------------


async def peek(sock: socket.socket) -> int:
    """The first byte that is to come, left where it is; raises EOFError at the end."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            if data := sock.recv(1, socket.MSG_PEEK):
                return data[0]
            raise EOFError
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(sock)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def hand_over(sock: socket.socket) -> socket.socket:
    """The same connection as another socket, for a transport that closes it when it is done."""
    with sock:
        return sock.dup()


# PostgreSQL -----------------------------------------------------------------------------------------------------------


def postgresql_front(behind: Behind) -> Front:
    """PostgreSQL's own negotiation: SSLRequest, or TLS from the first byte (sslnegotiation=direct)."""

    async def serve(client: socket.socket) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            wants_tls = await _negotiate(client, behind)
        if wants_tls:
            await relay(client, behind)

    return Front(serve)


async def _negotiate(client: socket.socket, behind: Behind) -> bool:
    """Whether TLS comes next; everything else is answered here.

    https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL. A cancel request comes without TLS from
    most clients, and carries its own secret.
    """
    loop = asyncio.get_running_loop()
    if await peek(client) == TLS_RECORD:
        return True
    for _ in range(_ROUNDS):
        length, code = postgresql.startup_head(head := await _receive(client, 8))
        if code == postgresql.SSL_REQUEST:
            await loop.sock_sendall(client, b"S")
            return True
        if code == postgresql.GSSENC_REQUEST:
            await loop.sock_sendall(client, b"N")
        elif code == postgresql.CANCEL_REQUEST:
            await _cancel(head + await _receive(client, 8), behind)
            return False
        elif length <= postgresql.STARTUP_BYTES:
            await _refuse(client, await _receive(client, max(length - 8, 0)), behind)
            return False
        else:
            return False
    return False


async def _cancel(request: bytes, behind: Behind) -> None:
    reader, writer = await asyncio.open_connection(HOST, behind.port)
    try:
        writer.write(request)
        await reader.read()  # the server closes without a word when it has dealt with it
    finally:
        writer.close()


async def _refuse(client: socket.socket, rest: bytes, behind: Behind) -> None:
    text = postgresql.no_encryption(HOST, postgresql.startup_parameters(rest))
    behind.on_refused(text)
    await asyncio.get_running_loop().sock_sendall(client, postgresql.error_response("28000", text))


# any protocol that begins with TLS or does not speak it ---------------------------------------------------------------


def tls_only_front(behind: Behind) -> Front:
    """TLS from the first byte, as `rediss://`; anything else is closed."""

    async def serve(client: socket.socket) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            is_tls = await peek(client) == TLS_RECORD
        if is_tls:
            await relay(client, behind)
        else:
            behind.on_refused("a connection without TLS")

    return Front(serve)


# relaying -------------------------------------------------------------------------------------------------------------


async def relay(client: socket.socket, behind: Behind) -> None:
    """TLS with the client, plain with the server, until one of them closes; back-pressure goes both ways."""
    loop = asyncio.get_running_loop()
    near, far = _End(), _End()
    try:
        sock = hand_over(client)
        await loop.connect_accepted_socket(
            lambda: near, sock, ssl=behind.context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
        )
        await loop.create_connection(lambda: far, HOST, behind.port)
        near.join(far)
        await near.closed
        await far.closed
    finally:
        near.abort()
        far.abort()


class _End(asyncio.Protocol):
    """One end of a relayed connection: what arrives here leaves at the other end."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._other: _End | None = None
        self._early: list[bytes] = []

    def join(self, other: "_End") -> None:
        """Relay from now on, first what came early."""
        self._other, other._other = other, self
        for end in (self, other):
            for data in end._early:
                end.data_received(data)
            end._early.clear()
            if end.closed.done():
                end._close_other()
            elif end._transport is not None:
                end._transport.resume_reading()

    def abort(self) -> None:
        """Close now; nothing is flushed."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        elif self._other._transport is not None:
            self._other._transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        _settle(self.closed)
        self._close_other()

    def _close_other(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()
