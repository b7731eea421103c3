"""One request on its way through the router: to a web dyno, its response back, its log line, its errors."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from herolocal.contracts.clock import Clock
from herolocal.model import codes
from herolocal.model.codes import Code
from herolocal.model.limits import ROUTER_ATTEMPTS, ROUTER_BOOT_QUEUE, ROUTER_FIRST_BYTE, ROUTER_IDLE
from herolocal.platform.router import pages
from herolocal.platform.router.pool import ConnectFailedError, Pool
from herolocal.platform.router.upstream import Upstream
from herolocal.wire import http1, logfmt
from herolocal.wire.http1 import Hop, RequestHead

_NO_BODY = (204, 304)
_SWITCHING = 101
_QUARANTINE = 5.0
_BUFFERED = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A web dyno that is up."""

    name: str
    port: int


class Routes(Protocol):
    """What the router knows of an app."""

    def targets(self) -> tuple[Target, ...]:
        """The web dynos that are up."""
        ...

    def refusal(self) -> Code | None:
        """Why there are none: H14, H10; None while some are starting, so that it is worth waiting."""
        ...

    async def change(self) -> None:
        """Return at the next change."""
        ...


class Client(Protocol):
    """The connection a request came on."""

    peer: bytes
    port: bytes
    tls: bool
    full: bool
    """Whether it takes no more for now: it reads too slowly."""

    def write(self, data: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def finished(self, *, keep: bool) -> None: ...


@dataclass(slots=True)
class Shared:
    """What all exchanges of a router have in common."""

    routes: Routes
    pool: Pool
    log: Callable[[str], None]
    clock: Clock
    random: random.Random
    quarantine: dict[int, float]
    first_byte: float = ROUTER_FIRST_BYTE
    idle: float = ROUTER_IDLE
    boot_queue: float = ROUTER_BOOT_QUEUE


class Exchange:
    """`run` is its task; the client's body and the dyno's response come in as calls."""

    def __init__(self, shared: Shared, client: Client, head: RequestHead) -> None:
        self._shared = shared
        self._client = client
        self.head = head
        given = head.request_id
        request_id = given if http1.accepted_request_id(given) else str(uuid.uuid4()).encode()
        self._hop = Hop(
            client=client.peer,
            scheme=b"https" if client.tls else b"http",
            port=client.port,
            request_id=request_id,
            start=b"%d" % (time.time_ns() // 1_000_000),
        )
        self._upstream: Upstream | None = None
        self._target: Target | None = None
        self._connect: int | None = None
        self._sent_at = 0.0
        self._body: list[bytes] = []
        self._buffered = 0
        self._body_done = False
        self._raw = False
        self._chunked = False
        self._status = 0
        self._bytes = 0
        self._keep = head.keep_alive
        self._done = asyncio.Event()
        self._last = 0.0

    # the way there --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Find a dyno, send the request, watch the clock until the response is complete."""
        try:
            code = await self._send()
            if code is not None:
                self._refuse(code)
                return
            await self._watch()
        finally:
            if not self._done.is_set():
                self._abandon()

    async def _send(self) -> Code | None:
        """Connect to a dyno and send the head; the code of the error when that cannot be."""
        tried: set[int] = set()
        failure: Code | None = None
        began = self._shared.clock.monotonic()
        while len(tried) < ROUTER_ATTEMPTS:
            target = await self._choose(tried) if failure is None else self._other(tried)
            if self._done.is_set():  # the client has left meanwhile
                return None
            if not isinstance(target, Target):
                return target or failure
            tried.add(target.port)
            try:
                upstream = await self._shared.pool.get(target.port)
            except ConnectFailedError as error:
                failure = error.code
                self._target = target
                self._shared.quarantine[target.port] = self._shared.clock.monotonic() + _QUARANTINE
                continue
            if self._done.is_set():
                self._shared.pool.put(target.port, upstream)
                return None
            self._start(target, upstream, began)
            return None
        return failure

    async def _choose(self, tried: set[int]) -> Target | Code | None:
        """A random web dyno; while none is up but some are starting, wait in the boot queue."""
        try:
            async with asyncio.timeout(self._shared.boot_queue):
                while True:
                    if target := self._other(tried):
                        return target
                    refusal = self._shared.routes.refusal()
                    if refusal is not None:
                        return refusal
                    await self._shared.routes.change()
        except TimeoutError:
            return codes.H20

    def _other(self, tried: set[int]) -> Target | None:
        now = self._shared.clock.monotonic()
        targets = [target for target in self._shared.routes.targets() if target.port not in tried]
        healthy = [target for target in targets if self._shared.quarantine.get(target.port, 0.0) <= now]
        pool = healthy or targets
        return self._shared.random.choice(pool) if pool else None

    def _start(self, target: Target, upstream: Upstream, began: float) -> None:
        now = self._shared.clock.monotonic()
        self._target, self._upstream = target, upstream
        self._connect = int((now - began) * 1000)
        self._sent_at = self._last = now
        upstream.begin(self)
        head = http1.request_bytes(self.head, self._hop)
        body, self._body, self._buffered = b"".join(self._body), [], 0
        self._write_up(head + body)
        if self._body_done and self.head.chunked:
            self._write_up(http1.LAST_CHUNK)
        self._client.resume()
        if self._client.full:
            self.client_full()

    def _write_up(self, data: bytes) -> None:
        if self._upstream is not None and self._upstream.transport is not None:
            self._upstream.transport.write(data)

    # the client's body ----------------------------------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        """A piece of the request's body, or of what follows an upgrade."""
        self._last = self._shared.clock.monotonic()
        framed = http1.chunk(data) if self.head.chunked and not self._raw else data
        if self._upstream is not None:
            self._write_up(framed)
            return
        self._body.append(framed)
        self._buffered += len(framed)
        if self._buffered > _BUFFERED:
            self._client.pause()

    def body_complete(self) -> None:
        """The request has ended."""
        self._body_done = True
        if self._upstream is not None and self.head.chunked:
            self._write_up(http1.LAST_CHUNK)

    def client_gone(self) -> None:
        """The client hung up before the response was complete."""
        if not self._done.is_set():
            self._status = codes.H27.status
            self._log(codes.H27)
            self._abandon()

    def client_writable(self) -> None:
        """The client reads again."""
        if self._upstream is not None and self._upstream.transport is not None and self._upstream.alive:
            self._upstream.transport.resume_reading()

    def client_full(self) -> None:
        """The client reads too slowly: so do we, from the dyno."""
        if self._upstream is not None and self._upstream.transport is not None and self._upstream.alive:
            self._upstream.transport.pause_reading()

    # the dyno's response --------------------------------------------------------------------------------------------

    def response_head(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        self._status = status
        self._last = self._shared.clock.monotonic()
        upgraded = status == _SWITCHING
        bodiless = self.head.method == b"HEAD" or status in _NO_BODY
        has_length = any(name.lower() == b"content-length" for name, _ in headers)
        framed = has_length or bodiless or upgraded
        self._chunked = not framed and self.head.version != "1.0"
        # What follows a declined upgrade is no HTTP to the client's side of us any more.
        self._keep = self._keep and (framed or self._chunked) and (upgraded or not self.head.upgrade)
        self._client.write(
            http1.response_bytes(
                status, reason, headers, chunked=self._chunked, keep_alive=self._keep or upgraded, upgrade=upgraded
            )
        )
        if upgraded and self._upstream is not None:
            self._raw = True
            self._keep = False
            self._upstream.go_raw()
        return bodiless

    def response_body(self, data: bytes) -> None:
        self._last = self._shared.clock.monotonic()
        self._bytes += len(data)
        self._client.write(http1.chunk(data) if self._chunked else data)

    def response_raw(self, data: bytes) -> None:
        self._last = self._shared.clock.monotonic()
        self._bytes += len(data)
        self._client.write(data)

    def response_complete(self) -> None:
        if self._done.is_set():
            return
        if self._chunked:
            self._client.write(http1.LAST_CHUNK)
        upstream, self._upstream = self._upstream, None
        self._log(None)
        self._done.set()
        if upstream is not None and self._target is not None:
            if not self._body_done:
                upstream.reusable = False  # it answered early: the rest of the body must not reach the next request
            self._shared.pool.put(self._target.port, upstream)
        self._client.finished(keep=self._keep and self._body_done)

    def response_failed(self, *, malformed: bool) -> None:
        """The dyno hung up, or what it said is no HTTP."""
        if self._done.is_set():
            return
        if self._raw:
            self._log(None)
            self._abandon()
        elif self._status:
            code, self._status = (codes.H17 if malformed else codes.H18), codes.H18.status
            self._log(code)
            self._abandon()
        else:
            self._refuse(codes.H17 if malformed else codes.H13)

    def upstream_writable(self) -> None:
        self._client.resume()

    def upstream_full(self) -> None:
        self._client.pause()

    # ends -----------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """First byte within 30 s, then never 55 s of silence."""
        while not self._done.is_set():
            limit = self._shared.idle if self._status else self._shared.first_byte
            since = self._last if self._status else max(self._sent_at, self._last)
            left = since + limit - self._shared.clock.monotonic()
            if left <= 0:
                self._silent()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._done.wait()

    def _silent(self) -> None:
        if not self._status:
            # Heroku leaves the dyno at work on the request, and so do we: only its answer has nobody to go to.
            self._refuse(codes.H12 if self._body_done else codes.H28)
        else:
            self._status = codes.H15.status
            self._log(None if self._raw else codes.H15)
            self._abandon()

    def _refuse(self, code: Code) -> None:
        """Answer with the error page."""
        self._status = code.status
        page = http1.page_bytes(
            code.status, pages.APPLICATION_ERROR, keep_alive=False, head_only=self.head.method == b"HEAD"
        )
        self._client.write(page)
        self._bytes = 0
        self._log(code)
        self._abandon()

    def _abandon(self) -> None:
        upstream, self._upstream = self._upstream, None
        self._done.set()
        if upstream is not None:
            upstream.end()
            upstream.close()
        self._client.finished(keep=False)

    def _log(self, code: Code | None) -> None:
        now = self._shared.clock.monotonic()
        reached = self._connect is not None
        request = logfmt.Request(
            method=self.head.method.decode("latin-1"),
            path=self.head.target.decode("latin-1"),
            host=self.head.host.decode("latin-1"),
            request_id=self._hop.request_id.decode("latin-1"),
            fwd=http1.forwarded_for(self.head, self._hop).decode("latin-1"),
            tls=self._client.tls,
            dyno=self._target.name if self._target else "",
            connect=self._connect,
            service=int((now - self._sent_at) * 1000) if reached else None,
            status=self._status,
            bytes=self._bytes if reached or code is None else None,
        )
        self._shared.log(logfmt.line(request, code.head if code else "at=info"))
