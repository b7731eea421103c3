"""Servers that are made at their first use: importing a container SDK takes longer than many a dyno to boot."""

from collections.abc import Callable

from herolocal.contracts.server import Progress, RunningServer, ServerRequest, Servers


class DeferredServers:
    """contracts.server.Servers, passed on to what `make` makes."""

    def __init__(self, make: Callable[[], Servers]) -> None:
        self._make = make
        self._made: Servers | None = None

    def _servers(self) -> Servers:
        if self._made is None:
            self._made = self._make()
        return self._made

    async def start(self, request: ServerRequest, progress: Progress) -> RunningServer:
        return await self._servers().start(request, progress)

    async def stop(self, addon: str, *, kill: bool = False) -> None:
        await self._servers().stop(addon, kill=kill)

    async def forget(self, volume: str) -> None:
        await self._servers().forget(volume)

    async def reap(self) -> int:
        return await self._servers().reap()

    async def describe(self) -> str | None:
        return await self._servers().describe()
