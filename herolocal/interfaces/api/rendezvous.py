"""Where `run` meets its dyno: TLS, one secret line, then bytes both ways (the rendezvous protocol)."""

import asyncio
import contextlib
import secrets
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from herolocal.adapters.backoff import until
from herolocal.contracts.process import ProcessInput

GREETING = b"rendezvous\r\n"
END_OF_INPUT = b"\x04"
_SECRET_SECONDS = 10.0
_ATTACH_SECONDS = 30.0  # R13
_CHUNK = 65536
_HELD = 1 << 20  # bytes that may wait for a slow client
_LOOK_SECONDS = 1.0
_ENDED = (7, 8)  # TCP_CLOSE and TCP_CLOSE_WAIT of the kernel's tcp_states.h


@dataclass(slots=True)
class Meeting:
    """One awaited client. `full` is set while it reads more slowly than its dyno writes."""

    secret: str
    writer: asyncio.StreamWriter | None = None
    reader: asyncio.StreamReader | None = None
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)

    def output(self, chunk: bytes) -> None:
        """Send the dyno's output on; a client that went away gets nothing."""
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(chunk)
            if self.writer.transport.get_write_buffer_size() > _HELD:
                self.full.set()

    async def pace(self, process: ProcessInput) -> None:
        """Hold the dyno's output back while the client is behind, for ever."""
        while self.writer is not None:
            await self.full.wait()
            process.hold_output(on=True)
            try:
                await self.writer.drain()
            finally:
                self.full.clear()
                process.hold_output(on=False)

    async def gone(self) -> None:
        """Return when the client has hung up, though nothing is read of it now."""
        sock = self.writer.get_extra_info("socket") if self.writer is not None else None

        async def look() -> bool | None:
            return sock is None or _has_hung_up(sock) or None

        await until(look, first=_LOOK_SECONDS, ceiling=_LOOK_SECONDS)


def _has_hung_up(sock: socket.socket) -> bool:
    """By the kernel's state of the connection; where it does not tell (macOS), reading tells later."""
    if sys.platform != "linux":
        return False
    try:
        (state,) = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return True
    return state in _ENDED


class Rendezvous:
    """A TLS server on a port of its own. `expect` announces a meeting, `attach_url` says where it is."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._meetings: dict[str, Meeting] = {}
        self._server: asyncio.Server | None = None

    async def expect(self) -> Meeting:
        """A new secret, awaited from now on; the server opens with the first."""
        if self._server is None:
            self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0, ssl=self._context())
        meeting = Meeting(secrets.token_hex(16))
        self._meetings[meeting.secret] = meeting
        return meeting

    def attach_url(self, meeting: Meeting) -> str:
        """`rendezvous://localhost:PORT/SECRET`."""
        if self._server is None:
            raise RuntimeError("expect() opens the server")
        port = self._server.sockets[0].getsockname()[1]
        return f"rendezvous://localhost:{port}/{meeting.secret}"

    async def wait(self, meeting: Meeting) -> bool:
        """Whether the client came within 30 s (else R13)."""
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                await meeting.attached.wait()
        except TimeoutError:
            self._meetings.pop(meeting.secret, None)
            return False
        return True

    async def close(self) -> None:
        """Close the server and every meeting."""
        if self._server is not None:
            self._server.close()
        for meeting in self._meetings.values():
            if meeting.writer is not None:
                meeting.writer.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECRET_SECONDS):
                line = await reader.readline()
        except (TimeoutError, ValueError, OSError):
            line = b""
        secret = line.decode("ascii", "replace").strip().partition("?")[0]
        meeting = self._meetings.pop(secret, None)
        if meeting is None:
            writer.close()
            return
        # The CLI throws the first record away whole, so the greeting travels alone.
        writer.write(GREETING)
        await writer.drain()
        meeting.reader, meeting.writer = reader, writer
        meeting.attached.set()


async def feed(meeting: Meeting, process_input: ProcessInput | None, *, terminal: bool) -> None:
    """Carry the client's bytes to the process until it hangs up; a broken connection raises OSError.

    Without a terminal a single 0x04 is the CLI's way to say that its standard input has ended.
    """
    if meeting.reader is None:
        return
    while chunk := await meeting.reader.read(_CHUNK):
        if process_input is None:
            continue
        if not terminal and chunk.endswith(END_OF_INPUT):
            await process_input.write(chunk[:-1])
            process_input.close()
            process_input = None
            continue
        await process_input.write(chunk)


async def finish(meeting: Meeting) -> None:
    """Send what is left and close."""
    if meeting.writer is None:
        return
    with contextlib.suppress(OSError, ConnectionError):
        await meeting.writer.drain()
        meeting.writer.close()
        await meeting.writer.wait_closed()
