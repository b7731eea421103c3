"""Add-ons of all apps: chosen, provisioned side by side, attached, stopped, and their data forgotten only when asked."""

import asyncio
import random
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from herolocal.contracts.clock import Clock
from herolocal.contracts.server import Backend, Credentials, RunningServer, ServerRequest, Servers
from herolocal.contracts.store import AddonRecord, AddonStore
from herolocal.errors import EngineUnavailable, MachineError
from herolocal.model.addon import Address, Resolved, attachment_name, config_vars, detect, make_up, resolve, resource_name
from herolocal.model.catalog import Template
from herolocal.model.manifest import AddonRequest


@dataclass(frozen=True, slots=True)
class Wanted:
    """An add-on that an app is to have: recorded already, or to be made under a free name."""

    resolved: Resolved
    attachment: str | None = None
    record: AddonRecord | None = None

    @property
    def plan(self) -> str:
        """`heroku-postgresql:essential-0`."""
        return f"{self.resolved.template.name}:{self.resolved.plan.name}"


@dataclass(frozen=True, slots=True)
class Attached:
    """An add-on whose server runs, and what it gives the app."""

    record: AddonRecord
    server: RunningServer
    config_vars: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AddonProgress:
    """One step of provisioning; `state` as in `platform.news`, `since` the monotonic time of its start."""

    plan: str
    state: str
    detail: str
    since: float
    config_vars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an app is to have, and what there is to tell of it."""

    requests: tuple[Wanted, ...]
    notes: tuple[str, ...]


Report = Callable[[AddonProgress], None]


@dataclass(frozen=True, slots=True)
class Provision:
    """How to provision for one `up`. `images` by Compose service name."""

    backend: Backend
    fresh: bool
    tls: bool
    images: Mapping[str, str]
    image_prefix: str


class Addons:
    """The add-ons of one home."""

    def __init__(
        self,
        store: AddonStore,
        servers: Mapping[Backend, Servers],
        templates: Mapping[str, Template],
        clock: Clock,
        source: random.Random,
    ) -> None:
        self._store = store
        self._servers = servers
        self._templates = templates
        self._clock = clock
        self._random = source
        self._running: dict[str, list[tuple[Servers, str]]] = {}

    def records(self, app: str) -> tuple[AddonRecord, ...]:
        """The add-ons an app has, running or not."""
        return self._store.addons(app)

    async def choose(self, asked: str, sticky: Backend | None, *, fresh: bool) -> Backend | None:
        """The backend for a start; raises EngineUnavailable when that would show an empty database for a full one."""
        if asked == "none":
            return None
        there = {backend: await servers.describe() for backend, servers in self._servers.items()}
        if asked == "auto":
            if sticky is not None and not fresh:
                return self._still_there(sticky, there)
            return Backend.DOCKER if there[Backend.DOCKER] else Backend.EMBEDDED
        backend = Backend(asked)
        if sticky not in (None, backend) and not fresh:
            raise EngineUnavailable(
                f"This app's data lives in {sticky} add-ons, and --addons {backend} would start empty ones. Start with "
                f"--addons {sticky}, forget the data with `herolocal down --volumes`, or use --fresh for empty throw-away ones."
            )
        return self._still_there(backend, there)

    def _still_there(self, backend: Backend, there: Mapping[Backend, str | None]) -> Backend:
        if there[backend] is None and backend is Backend.DOCKER:
            raise EngineUnavailable(
                "This app uses add-ons in containers, and no container engine answers. Start the engine (docker info tells "
                "whether it runs), or use --addons embedded --fresh for empty throw-away servers without one."
            )
        return backend

    def wanted(self, app: str, asked: Sequence[AddonRequest], packages: Collection[str]) -> Wishes:
        """Recorded ones and app.json's; where nothing declares any, those that the app's packages speak to."""
        found = []
        for record in self._store.addons(app):
            found.append(Wanted(resolve(f"{record.service}:{record.plan}", self._templates), record.attachment, record))
        notes = []
        for request in asked:
            resolved = resolve(request.plan, self._templates)
            if not any(_serves(have, resolved, request.attachment) for have in found):
                found.append(Wanted(resolved, request.attachment))
                notes += [resolved.note] if resolved.note else []
        if not found:
            for service, package in detect(packages, self._templates):
                found.append(Wanted(resolve(service, self._templates)))
                notes.append(f"{found[-1].plan} attached, since the app requires {package}.")
        return Wishes(tuple(found), tuple(notes))

    async def ensure(
        self, app: str, requests: Sequence[Wanted], how: Provision, report: Report
    ) -> tuple[Attached, ...]:
        """Start all side by side; one that fails stops the others. Records are kept before a server starts."""
        tasks = []
        records = [(self._recorded(app, item), item) for item in requests]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._provision(record, item, how, report)) for record, item in records]
        except BaseException:
            await self.stop(app, kill=True)
            raise
        return tuple(task.result() for task in tasks)

    async def _provision(self, record: AddonRecord, item: Wanted, how: Provision, report: Report) -> Attached:
        since = self._clock.monotonic()

        def tell(state: str, detail: str, names: tuple[str, ...] = ()) -> None:
            report(AddonProgress(item.plan, state, detail, since, names))

        tell("started", "starting")
        servers = self._servers[how.backend]
        request = _request(record, item, how)
        self._running.setdefault(record.app, []).append((servers, request.addon))
        try:
            server = await servers.start(request, lambda phase: tell("progress", phase))
        except MachineError:
            tell("failed", "")
            raise
        address = Address(
            user=record.credentials.user,
            password=record.credentials.password,
            database=record.credentials.database,
            host=server.host,
            port=server.port,
            tls_port=server.tls_port,
        )
        values = config_vars(item.resolved.template, record.attachment, address, tls=how.tls)
        tell("done", server.detail, tuple(values))
        return Attached(record, server, values)

    def _recorded(self, app: str, item: Wanted) -> AddonRecord:
        """The add-on's record, kept before its server starts, so that nothing half made is forgotten."""
        if item.record is not None:
            return item.record
        template = item.resolved.template
        taken = self._store.addons(app)
        attachment = item.attachment or attachment_name(template, {have.attachment for have in taken}, self._random)
        name = resource_name(template, {have.name for have in taken}, self._random)
        record = AddonRecord(
            id=str(uuid.uuid4()),
            name=name,
            app=app,
            service=template.name,
            plan=item.resolved.plan.name,
            attachment=attachment,
            volume=f"herolocal-{app}-{name}",
            credentials=Credentials(*make_up(template.credentials, self._random)),
            created_at=self._clock.now(),
        )
        self._store.save_addon(record)
        return record

    async def stop(self, app: str, *, kill: bool) -> None:
        """Stop an app's servers; data stays."""
        running = self._running.pop(app, [])
        await asyncio.gather(*(servers.stop(addon, kill=kill) for servers, addon in running))

    async def forget(self, app: str, backend: Backend | None) -> None:
        """Remove the data of an app's add-ons, and the add-ons themselves; its servers must be stopped."""
        for record in self._store.addons(app):
            if backend is not None:
                await self._servers[backend].forget(record.volume)
            self._store.delete_addon(record.name)


def _serves(have: Wanted, asked: Resolved, attachment: str | None) -> bool:
    """Whether an add-on the app has is the one that is asked for."""
    return have.resolved.template.name == asked.template.name and attachment in (None, have.attachment)


def _request(record: AddonRecord, item: Wanted, how: Provision) -> ServerRequest:
    suffix = f"-fresh-{uuid.uuid4().hex[:8]}" if how.fresh else ""
    return ServerRequest(
        app=record.app,
        addon=record.name + suffix,
        template=item.resolved.template,
        plan=item.resolved.plan,
        credentials=record.credentials,
        volume=record.volume + suffix,
        tls=how.tls,
        throwaway=how.fresh,
        images=how.images,
        image_prefix=how.image_prefix,
    )
