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
from herolocal.model.addon import Access, Wanted, config_vars, detected, new_credentials, wanted
from herolocal.model.catalog import Template
from herolocal.model.manifest import AddonRequest
from herolocal.model.names import made_up


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
        found: dict[str, Wanted] = {}
        notes = []
        for record in self._store.addons(app):
            found[record.attachment], _ = wanted(f"{record.service}:{record.plan}", self._templates, record.attachment)
        for request in asked:
            item, note = wanted(request.plan, self._templates, request.attachment)
            found.setdefault(item.attachment, item)
            notes += [note] if note else []
        if not found:
            for service, package in detected(packages, self._templates).items():
                item, _ = wanted(service, self._templates)
                found[item.attachment] = item
                notes.append(f"{service}:{item.plan.name} attached: the app requires {package}. app.json can say so.")
        return Wishes(tuple(found.values()), tuple(notes))

    async def ensure(
        self, app: str, requests: Sequence[Wanted], how: Provision, report: Report
    ) -> tuple[Attached, ...]:
        """Start all side by side; one that fails stops the others. Records are kept before a server starts."""
        tasks = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._provision(app, item, how, report)) for item in requests]
        except BaseException:
            await self.stop(app, kill=True)
            raise
        return tuple(task.result() for task in tasks)

    async def _provision(self, app: str, item: Wanted, how: Provision, report: Report) -> Attached:
        since = self._clock.monotonic()
        plan = f"{item.template.service}:{item.plan.name}"

        def tell(state: str, detail: str, names: tuple[str, ...] = ()) -> None:
            report(AddonProgress(plan, state, detail, since, names))

        tell("started", "starting")
        record = self._record(app, item)
        servers = self._servers[how.backend]
        suffix = f"-fresh-{uuid.uuid4().hex[:8]}" if how.fresh else ""
        request = ServerRequest(
            app=app,
            addon=record.name + suffix,
            template=item.template,
            plan=item.plan,
            credentials=record.credentials,
            volume=record.volume + suffix,
            tls=how.tls,
            throwaway=how.fresh,
            images=how.images,
            image_prefix=how.image_prefix,
        )
        self._running.setdefault(app, []).append((servers, request.addon))
        try:
            server = await servers.start(request, lambda phase: tell("progress", phase))
        except MachineError:
            tell("failed", "")
            raise
        values = config_vars(item.template, record.attachment, _access(record.credentials, server, tls=how.tls))
        tell("done", server.detail, tuple(values))
        return Attached(record, server, values)

    def _record(self, app: str, item: Wanted) -> AddonRecord:
        for record in self._store.addons(app):
            if record.attachment == item.attachment:
                return record
        user, password, database = new_credentials(item.template, self._random)
        name = made_up(item.template.prefix, self._random)
        record = AddonRecord(
            id=str(uuid.uuid4()),
            name=name,
            app=app,
            service=item.template.service,
            plan=item.plan.name,
            attachment=item.attachment,
            volume=f"herolocal-{app}-{name}",
            credentials=Credentials(user, password, database),
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


def _access(credentials: Credentials, server: RunningServer, *, tls: bool) -> Access:
    return Access(
        host=server.host,
        port=server.port,
        user=credentials.user,
        password=credentials.password,
        database=credentials.database,
        tls=tls,
        tls_port=server.tls_port,
    )
