"""Connections to dynos: kept while idle as Heroku's Router 2.0 keeps them, opened when there is none."""

import asyncio
import errno
from collections import defaultdict

from herolocal.contracts.clock import Clock
from herolocal.model import codes
from herolocal.model.codes import Code
from herolocal.model.limits import ROUTER_CONNECT, ROUTER_POOL_IDLE
from herolocal.platform.router.upstream import Upstream


class ConnectFailedError(Exception):
    """A dyno could not be reached; `code` says how (H19, H21). Internal to the router."""

    def __init__(self, code: Code) -> None:
        self.code = code
        super().__init__(code.desc)


class Pool:
    """Idle connections by dyno id and port."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[int, list[Upstream]] = defaultdict(list)
        self._all: set[Upstream] = set()

    async def get(self, port: int) -> Upstream:
        """An idle connection that the dyno has not closed, or a new one; raises ConnectFailedError."""
        idle = self._idle.get(port)
        while idle:
            upstream = idle.pop()
            fresh = self._clock.monotonic() - upstream.idle_since < ROUTER_POOL_IDLE
            if upstream.alive and fresh and upstream.transport is not None and not upstream.transport.is_closing():
                return upstream
            upstream.close()
        return await self._connect(port)

    async def _connect(self, port: int) -> Upstream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ROUTER_CONNECT):
                _, upstream = await loop.create_connection(lambda: Upstream(self._all.discard), "127.0.0.1", port)
        except TimeoutError as error:
            raise ConnectFailedError(codes.H19) from error
        except OSError as error:
            refused = error.errno in (errno.ECONNREFUSED, errno.ECONNRESET)
            raise ConnectFailedError(codes.H21 if refused else codes.H99) from error
        self._all.add(upstream)
        return upstream

    def put(self, port: int, upstream: Upstream) -> None:
        """Keep it for the next request, when it may be kept."""
        upstream.end()
        if upstream.alive and upstream.reusable and upstream.transport is not None:
            upstream.transport.resume_reading()  # a slow client may have paused it with its last piece
            upstream.idle_since = self._clock.monotonic()
            self._idle[port].append(upstream)
        else:
            upstream.close()

    def forget(self, ports: set[int]) -> None:
        """Close idle connections to dynos that are no longer there."""
        for port in [port for port in self._idle if port not in ports]:
            for upstream in self._idle.pop(port):
                upstream.close()

    def close(self) -> None:
        """Close all."""
        for upstream in list(self._all):
            upstream.close()
