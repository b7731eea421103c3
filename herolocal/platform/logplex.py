"""The log of one app: chunks of output become lines in Logplex's format, kept in a ring and handed to tail sessions."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from herolocal.contracts.clock import Clock
from herolocal.model.limits import LOG_LINE_BYTES, LOG_LINES, LOG_PARTIAL_FLUSH

_QUEUE_BYTES = 4 * 1024 * 1024
_SEPARATOR = 0x1E


def matches(line: bytes, dyno: str | None, source: str | None) -> bool:
    """Whether a formatted line is of this dyno (or its type) and this source."""
    head = line[33:].partition(b"]:")[0]
    found, _, ps = head.partition(b"[")
    if source is not None and found != source.encode():
        return False
    return dyno is None or ps == dyno.encode() or ps.startswith(f"{dyno}.".encode())


def _lines(data: bytes) -> list[bytes]:
    """Whole lines with their ends; a lone carriage return ends none."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


class Writer:
    """The output of one life of a dyno. `chunk` is the hot path: no object per line."""

    def __init__(self, logplex: "Logplex", source: str, dyno: str) -> None:
        self._logplex = logplex
        self._label = f" {source}[{dyno}]: ".encode()
        self._partial = b""
        self._flush: asyncio.TimerHandle | None = None

    def chunk(self, data: bytes) -> None:
        """Output as it was read; an unfinished line waits 200 ms for its end."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        data = self._partial + data if self._partial else data
        whole, newline, self._partial = data.rpartition(b"\n")
        if newline:
            self._write(whole)
        while len(self._partial) > LOG_LINE_BYTES:
            self._write(self._partial[:LOG_LINE_BYTES])
            self._partial = self._partial[LOG_LINE_BYTES:]
        if self._partial:
            self._flush = asyncio.get_running_loop().call_later(LOG_PARTIAL_FLUSH, self.close)

    def close(self) -> None:
        """Write what is left of an unfinished line."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._partial:
            self._write(self._partial)
            self._partial = b""

    def _write(self, whole: bytes) -> None:
        prefix = self._logplex.stamp() + self._label
        if len(whole) > LOG_LINE_BYTES:
            whole = b"\n".join(
                line[at : at + LOG_LINE_BYTES]
                for line in whole.split(b"\n")
                for at in range(0, len(line) or 1, LOG_LINE_BYTES)
            )
        self._logplex.write(prefix + whole.replace(b"\n", b"\n" + prefix) + b"\n")


class Session:
    """One reader of the log; falls behind by dropping, never by blocking the writers."""

    def __init__(self, keep: Callable[[bytes], bool] | None, *, events: bool, stamp: Callable[[], bytes]) -> None:
        self.events = events
        self._keep = keep
        self._stamp = stamp
        self._queue: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._since = b""
        self._news = asyncio.Event()
        self._closed = False

    def give(self, data: bytes) -> None:
        """Whole lines."""
        if self._keep is not None:
            data = b"".join(line for line in _lines(data) if self._keep(line))
        if not data:
            return
        if self._size > _QUEUE_BYTES:
            self._dropped += data.count(b"\n")
            self._since = self._since or self._stamp()
            return
        self.give_event(data)

    def give_event(self, data: bytes) -> None:
        """A record that is never dropped."""
        self._queue.append(data)
        self._size += len(data)
        self._news.set()

    def close(self) -> None:
        """Let the reader finish."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._queue, self._size = self._queue, [], 0
            if self._dropped:
                batch.append(self._overflow())
            if batch:
                yield b"".join(batch)
            if self._closed and not self._queue:
                return

    def _overflow(self) -> bytes:
        text = f"Error L11 (Tail buffer overflow) -> This tail session dropped {self._dropped} messages since ".encode()
        line = self._stamp() + b" heroku[logplex]: " + text + self._since + b".\n"
        self._dropped, self._since = 0, b""
        return line


class Logplex:
    """The ring and the tail sessions of one app."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: deque[bytes] = deque()
        self._lines = 0
        self._sessions: set[Session] = set()

    def stamp(self) -> bytes:
        """Now, as `2026-01-01T00:00:00.412802+00:00`."""
        now: datetime = self._clock.now()
        return now.isoformat(timespec="microseconds").encode()

    def writer(self, source: str, dyno: str) -> Writer:
        """For the output of one dyno."""
        return Writer(self, source, dyno)

    def line(self, source: str, dyno: str, text: str) -> None:
        """A line of the platform's own."""
        for part in text.splitlines() or [""]:
            self.write(self.stamp() + f" {source}[{dyno}]: {part}\n".encode("utf-8", "replace"))

    def write(self, data: bytes) -> None:
        """Whole formatted lines."""
        self._ring.append(data)
        self._lines += data.count(b"\n")
        while self._lines - (count := self._ring[0].count(b"\n")) >= LOG_LINES:
            self._ring.popleft()
            self._lines -= count
        for session in self._sessions:
            session.give(data)

    def post(self, event: bytes) -> None:
        """An event for the sessions that asked for events; not part of the log."""
        for session in self._sessions:
            if session.events:
                session.give_event(event)

    def history(self, lines: int, keep: Callable[[bytes], bool] | None = None) -> bytes:
        """The newest lines that match."""
        found = [line for data in self._ring for line in _lines(data) if keep is None or keep(line)]
        return b"".join(found[-lines:]) if lines else b""

    def open(self, *, events: bool = True) -> Session:
        """A session of everything from now on; `discard` ends it."""
        session = Session(None, events=events, stamp=self.stamp)
        self._sessions.add(session)
        return session

    def discard(self, session: Session) -> None:
        """Nothing more for this session."""
        self._sessions.discard(session)

    @asynccontextmanager
    async def tail(
        self,
        *,
        dyno: str | None = None,
        source: str | None = None,
        lines: int = 100,
        tail: bool = True,
        events: bool = False,
    ) -> AsyncIterator[Session]:
        """A session: the newest lines, then, with `tail`, all that follows."""
        keep = (lambda line: matches(line, dyno, source)) if dyno or source else None
        session = Session(keep, events=events, stamp=self.stamp)
        session.give(self.history(min(lines, LOG_LINES), keep))
        if tail:
            self._sessions.add(session)
        else:
            session.close()
        try:
            yield session
        finally:
            self._sessions.discard(session)

    def close(self) -> None:
        """End every session after what it has."""
        for session in self._sessions:
            session.close()
