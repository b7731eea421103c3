"""Add-on servers in containers, through the docker SDK (contracts.server)."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import docker

from herolocal.adapters import engine_containers, engine_log, engine_setup, readiness
from herolocal.adapters.authority import Authority
from herolocal.adapters.backoff import until
from herolocal.adapters.engine_client import EngineClient
from herolocal.adapters.engine_containers import Made, Owner
from herolocal.adapters.engine_images import Pull
from herolocal.adapters.notices import Notices, OnNotice, ignore
from herolocal.adapters.readiness import Answer, Target
from herolocal.adapters.tls_front import HOST, Behind, Front, tls_only_front
from herolocal.contracts.network import Ports
from herolocal.contracts.server import Progress, RunningServer, ServerRequest
from herolocal.errors import HerolocalError, ServerFailed
from herolocal.model.catalog import Readiness
from herolocal.model.limits import ADDON_READY_TIMEOUT, ADDON_STOP_TIMEOUT, ENGINE_TIMEOUT
from herolocal.wire.postgresql import ALPN

_LOOK_SECONDS = 1.0  # between two questions whether the container of a server that is not ready still runs
_REFUSALS = {Readiness.POSTGRESQL: "no encryption", Readiness.REDIS: "wrong version number"}


@dataclass(slots=True)
class _Running:
    """One container at work, its front if it has one, and the task that reads its log."""

    request: ServerRequest
    made: Made
    server: RunningServer
    front: Front | None = None
    watch: "asyncio.Task[None] | None" = field(default=None, repr=False)


class DockerServers:
    """Servers of one home. `environment` is the caller's, by which the engine is found; nothing is opened yet."""

    def __init__(
        self,
        home_id: str,
        environment: Mapping[str, str],
        authority: Authority,
        ports: Ports,
        on_notice: OnNotice = ignore,
        *,
        limit: float = ENGINE_TIMEOUT,
    ) -> None:
        self._owner: Owner = engine_containers.this_owner(home_id)
        self._engine = EngineClient(environment, limit)
        self._authority = authority
        self._ports = ports
        self._notices = Notices(on_notice)
        self._running: dict[str, _Running] = {}
        self._limit = limit

    async def describe(self) -> str | None:
        """`Docker 28.2.2`, or None when no engine answers."""
        return await self._engine.describe()

    # starting -------------------------------------------------------------------------------------------------------

    async def start(self, request: ServerRequest, progress: Progress) -> RunningServer:
        """Start it, or adopt the container that runs already for the same request."""
        running = self._running.get(request.addon)
        if running is not None and running.request == request and await self._is_up(running.made):
            return running.server
        await self.stop(request.addon)
        image = await self._pull(request, progress)
        progress("starting")
        try:
            running = await self._launch(request, image, progress)
        except BaseException:
            await self._discard(request)
            raise
        self._running[request.addon] = running
        return running.server

    async def _pull(self, request: ServerRequest, progress: Progress) -> str:
        loop = asyncio.get_running_loop()

        def tell(phase: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for this pull any more
                loop.call_soon_threadsafe(progress, phase)

        pull = Pull(request, tell)
        await self._engine.call(pull.run, long=pull)
        return pull.image

    async def _launch(self, request: ServerRequest, image: str, progress: Progress) -> _Running:
        made = await self._engine.call(
            lambda client: engine_containers.make(client, request, image, self._owner, self._authority)
        )
        progress("waiting for the server")
        await self._wait_until_ready(request, made)
        front, tls_port = self._front(request, made)
        kind = (await self.describe() or "Docker").split()[0]
        server = RunningServer(request.addon, HOST, made.port, f"{image} in {kind}", tls_port=tls_port)
        running = _Running(request, made, server, front)
        running.watch = asyncio.get_running_loop().create_task(self._watch(running, await self._engine.url()))
        return running

    def _front(self, request: ServerRequest, made: Made) -> tuple[Front | None, int | None]:
        """TLS on a port of ours, before a server that speaks none itself."""
        if not (request.tls and request.template.container.front):
            return None, None
        refused = partial(self._notices.refused, request)
        front = tls_only_front(Behind(made.port, request.credentials, self._authority.server_context(), refused))
        return front, front.open(self._ports)

    async def _wait_until_ready(self, request: ServerRequest, made: Made) -> None:
        """Raises ServerFailed when the container ends, or takes too long; EngineUnavailable when the engine does."""
        ready = asyncio.ensure_future(self._set_up(request, made))
        ended = asyncio.ensure_future(self._wait_for_end(made))
        try:
            done, _ = await asyncio.wait(
                {ready, ended}, timeout=ADDON_READY_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.wait({ready, ended})
        if ready in done and ready.result() is Answer.READY:
            return
        found = "does not know its own password; the data is not what this app left"
        if not done:
            found = f"was not ready within {ADDON_READY_TIMEOUT:.0f} s"
        elif ended in done:
            found = f"ended with status {ended.result()}"
        lines = await self._engine.call(lambda _: engine_containers.tail(made.container))
        raise ServerFailed(
            f"Cannot start {request.addon} ({request.template.name}): its container {found}. Its last lines:\n{lines}"
        )

    async def _set_up(self, request: ServerRequest, made: Made) -> Answer:
        speaks_tls = request.tls and request.template.container.with_tls is not None
        protocols = (ALPN,) if request.template.readiness is Readiness.POSTGRESQL else ()
        context = self._authority.client_context(*protocols) if speaks_tls else None
        target = Target(HOST, made.port, request.credentials, context)
        await engine_setup.set_up(self._engine, request, made, target)
        return await readiness.wait(request.template.readiness, target)

    async def _wait_for_end(self, made: Made) -> int:
        """The status with which the container ended."""

        def look(_client: docker.DockerClient) -> str | None:
            made.container.reload()
            state = made.container.attrs["State"]
            return None if state["Status"] in ("running", "created") else str(state.get("ExitCode", ""))

        async def ask() -> str | None:
            return await self._engine.call(look)

        return int(await until(ask, first=_LOOK_SECONDS, ceiling=_LOOK_SECONDS) or 0)

    async def _is_up(self, made: Made) -> bool:
        def look(_client: docker.DockerClient) -> bool:
            made.container.reload()
            return made.container.status == "running"

        try:
            return await self._engine.call(look)
        except ServerFailed:  # it is gone
            return False

    async def _watch(self, running: _Running, url: str) -> None:
        """Tell the app why a connection was refused, and that its server has ended by itself."""
        refusal = _REFUSALS.get(running.request.template.readiness) if running.request.tls else None
        try:
            async for line in engine_log.follow(url, str(running.made.container.id)):
                if refusal is not None and refusal in line:
                    self._notices.refused(running.request, _short(line))
        except (OSError, EOFError, TimeoutError) as error:
            logging.getLogger("herolocal").debug("the log of %s: %s", running.request.addon, error)
            return
        if self._running.get(running.request.addon) is running and not await self._is_up(running.made):
            self._notices.say(
                running.request,
                f"The container of {running.request.addon} ended by itself: docker logs {running.made.container.name}",
            )

    # stopping -------------------------------------------------------------------------------------------------------

    async def stop(self, addon: str, *, kill: bool = False) -> None:
        """Stop and remove the container; a throw-away's volume goes too."""
        running = self._running.pop(addon, None)
        if running is None:
            return
        try:
            await _close(running)
        finally:
            await self._remove(running.request, kill=kill)

    async def _remove(self, request: ServerRequest, *, kill: bool) -> None:
        def work(client: docker.DockerClient) -> None:
            for container in engine_containers.find(client, home=self._owner.home, addon=request.addon):
                if container.labels.get(engine_containers.BOOT) == self._owner.boot:
                    engine_containers.remove(container, kill=kill)
            if request.throwaway:
                engine_containers.remove_volume(client, self._owner.name(request.volume))

        await self._engine.call(work, limit=2 * self._limit + ADDON_STOP_TIMEOUT)

    async def _discard(self, request: ServerRequest) -> None:
        """Remove what a start that failed has left; what cannot be removed now is reaped at the next start."""
        with contextlib.suppress(HerolocalError):
            await self._remove(request, kill=True)

    async def forget(self, volume: str) -> None:
        """Remove the volume; raises EngineUnavailable, and ServerFailed while something uses it."""
        await self._engine.call(lambda client: engine_containers.remove_volume(client, self._owner.name(volume)))

    async def reap(self) -> int:
        """Remove containers that an earlier run of this home's platform has left, and its throw-away volumes."""
        return await self._engine.call(lambda client: engine_containers.reap(client, self._owner))

    def close(self) -> None:
        """Close idle connections to the engine."""
        self._engine.close()


async def _close(running: _Running) -> None:
    """End what of a running server is in this process."""
    if running.watch is not None:
        running.watch.cancel()
        await asyncio.wait({running.watch})
    if running.front is not None:
        await running.front.close()


def _short(line: str) -> str:
    """The server's words without its time, process id and level."""
    return re.split(r" # |FATAL:", line, maxsplit=1)[-1].strip()
