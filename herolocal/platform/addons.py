"""The add-ons of all apps: which an app wants, where their servers run, and what they put into its config vars."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from herolocal.contracts.clock import Clock
from herolocal.contracts.server import Backend, Credentials, RunningServer, ServerRequest, Servers
from herolocal.contracts.store import AddonRecord, AddonStore
from herolocal.errors import EngineUnavailable, HerolocalError, UsageError, expected
from herolocal.model import addon
from herolocal.model.addon import PlanRequest
from herolocal.model.catalog import Template
from herolocal.model.choices import Addons as Asked
from herolocal.model.manifest import AddonRequest

_WHAT = {Backend.DOCKER: "a container engine", Backend.EMBEDDED: "the embedded servers"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The add-ons an app is to have, and a line for each that somebody should know of."""

    requests: tuple[PlanRequest, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddonProgress:
    """One step of one add-on's start. `addon` is `heroku-postgresql:essential-0`, `seconds` since its beginning.

    `detail` says which server it is once `is_ready`, and `parity` what that server is not.
    """

    addon: str
    name: str
    phase: str
    seconds: float
    is_ready: bool = False
    detail: str = ""
    parity: str | None = None
    config_vars: tuple[str, ...] = ()


Report = Callable[[AddonProgress], None]


@dataclass(frozen=True, slots=True)
class Attached:
    """An add-on whose server runs, and the config vars of its attachment."""

    record: AddonRecord
    server: RunningServer
    config_vars: Mapping[str, str]
    backend: Backend


@dataclass(frozen=True, slots=True)
class Way:
    """How servers are to be started, the same for all add-ons of one start."""

    backend: Backend
    fresh: bool
    tls: bool
    images: Mapping[str, str] = field(default_factory=dict)
    image_prefix: str = ""


class Addons:
    """`random` must be a secret source: passwords come from it."""

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
        self._running: dict[str, tuple[Attached, ...]] = {}

    # deciding -------------------------------------------------------------------------------------------------------

    async def choose(self, asked: str, sticky: Backend | None, *, fresh: bool = False) -> Backend | None:
        """Where servers run: None for `none`; an app's data stays where it is, so its choice sticks.

        `auto` without such a choice takes the engine if it answers, else the embedded servers, whether they are
        installed or not: who needs no add-on needs neither. Raises EngineUnavailable.
        """
        wish = Asked(asked)
        if wish is Asked.NONE:
            return None
        if sticky is not None and not fresh:
            return await self._stick(wish, sticky)
        if wish is Asked.AUTO:
            return Backend.DOCKER if await self._servers[Backend.DOCKER].describe() else Backend.EMBEDDED
        backend = Backend(wish)
        if backend is Backend.DOCKER and await self._servers[backend].describe() is None:
            raise EngineUnavailable(
                "Cannot run add-ons in containers: no container engine answers. Start it (see `docker info`), or run "
                "with --addons embedded."
            )
        return backend

    async def _stick(self, wish: Asked, sticky: Backend) -> Backend:
        other = Backend.EMBEDDED if sticky is Backend.DOCKER else Backend.DOCKER
        if wish not in (Asked.AUTO, Asked(sticky)):
            raise EngineUnavailable(
                f"Data of this app's add-ons is in {_WHAT[sticky]}, so --addons {wish} would begin with empty ones. "
                f"To do that beside the data, add --fresh; to forget the data, type `herolocal down --volumes` first."
            )
        if sticky is Backend.DOCKER and await self._servers[sticky].describe() is None:
            raise EngineUnavailable(
                f"Data of this app's add-ons is in {_WHAT[sticky]}, which does not answer. Start it (`docker info` "
                f"says why), or run with --addons {other} --fresh, which begins with empty ones and keeps the data."
            )
        return sticky

    def wanted(self, app: str, declared: Sequence[AddonRequest], packages: Collection[str]) -> Wanted:
        """What is recorded, and what app.json declares beyond that; where neither says anything, what packages imply.

        Raises UnknownAddon listing what there is.
        """
        have = tuple(PlanRequest(item.service, item.plan, item.attachment, item.name) for item in self.records(app))
        for item in have:
            addon.resolve(item.service, self._templates)
        asked, notes = self._declared(declared)
        requests, more = addon.merge(have, asked)
        if not requests:
            detected = addon.detect(packages, self._templates)
            requests = tuple(PlanRequest(name, self._templates[name].default_plan) for name, _ in detected)
            more = tuple(f"{name} attached, because the app requires {package}." for name, package in detected)
        return Wanted(requests, (*notes, *more))

    def _declared(self, declared: Iterable[AddonRequest]) -> tuple[list[PlanRequest], list[str]]:
        requests, notes = [], []
        for item in declared:
            found = addon.resolve(item.plan, self._templates)
            requests.append(PlanRequest(found.template.name, found.plan.name, item.attachment))
            if found.note:
                notes.append(found.note)
        return requests, notes

    # starting -------------------------------------------------------------------------------------------------------

    async def ensure(
        self,
        app: str,
        wanted: Sequence[PlanRequest],
        backend: Backend,
        *,
        fresh: bool = False,
        tls: bool = True,
        images: Mapping[str, str] | None = None,
        image_prefix: str = "",
        report: Report = lambda _progress: None,
    ) -> tuple[Attached, ...]:
        """Record what is new, and start all servers side by side.

        When one fails, the others are stopped again, and what is new is forgotten: no dyno has written to it yet.
        Raises MachineError's children of the one that failed first.
        """
        way = Way(backend, fresh, tls, images or {}, image_prefix)
        before = {record.name for record in self.records(app)}
        records = self._record(app, wanted)
        tasks = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._start(record, way, report)) for record in records]
        except BaseException as error:
            await self._undo(records, backend, [record for record in records if record.name not in before])
            if (first := expected(error)) is None or first is error:
                raise
            raise first from error
        self._running[app] = tuple(task.result() for task in tasks)
        return self._running[app]

    def _record(self, app: str, wanted: Sequence[PlanRequest]) -> list[AddonRecord]:
        """The record of each request; new ones are saved before anything is started, so that no data is orphaned."""
        known = {record.name: record for record in self.records(app)}
        records = []
        for request in wanted:
            record = known.get(request.name or "")
            if record is None:
                record = self._make(app, request, [*known.values()])
                self._store.save_addon(record)
                known[record.name] = record
            records.append(record)
        return records

    def _make(self, app: str, request: PlanRequest, known: Collection[AddonRecord]) -> AddonRecord:
        template = self._templates[request.service]
        attachments = {record.attachment for record in known}
        attachment = request.attachment or addon.attachment_name(template, attachments, self._random)
        if attachment in attachments:
            raise UsageError(f"app.json asks for two attachments named {attachment}. Give one another name with `as`.")
        name = addon.resource_name(template, {record.name for record in known}, self._random)
        return AddonRecord(
            id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            name=name,
            app=app,
            service=template.name,
            plan=request.plan,
            attachment=attachment,
            volume=name,
            credentials=Credentials(*addon.make_up(template.credentials, self._random)),
            created_at=self._clock.now(),
        )

    async def _start(self, record: AddonRecord, way: Way, report: Report) -> Attached:
        since = self._clock.monotonic()
        names = addon.config_var_names(self._templates[record.service], record.attachment)
        step = AddonProgress(f"{record.service}:{record.plan}", record.name, "", 0.0, config_vars=names)

        def progress(phase: str) -> None:
            report(replace(step, phase=phase, seconds=self._clock.monotonic() - since))

        request = self._request(record, way)
        server = await self._servers[way.backend].start(request, progress)
        seconds = self._clock.monotonic() - since
        report(replace(step, phase="ready", seconds=seconds, is_ready=True, detail=server.detail, parity=server.parity))
        return Attached(record, server, _config_vars(request, record.attachment, server), way.backend)

    def _request(self, record: AddonRecord, way: Way) -> ServerRequest:
        found = addon.resolve(f"{record.service}:{record.plan}", self._templates)
        volume = f"{record.volume}-fresh-{self._random.getrandbits(32):08x}" if way.fresh else record.volume
        return ServerRequest(
            app=record.app,
            addon=record.name,
            template=found.template,
            plan=found.plan,
            credentials=record.credentials,
            volume=volume,
            tls=way.tls,
            throwaway=way.fresh,
            images=way.images,
            image_prefix=way.image_prefix,
        )

    async def _undo(self, records: Iterable[AddonRecord], backend: Backend, new: Iterable[AddonRecord]) -> None:
        """Stop what was started; what had not got so far has cleaned up after itself. Forget what is new."""
        await self._stop_all(((record.name, backend) for record in records), kill=True)
        for record in new:
            with contextlib.suppress(HerolocalError):  # an engine that is lost: its containers are reaped later
                await self._servers[backend].forget(record.volume)
            self._store.delete_addon(record.name)

    # what there is --------------------------------------------------------------------------------------------------

    def records(self, app: str) -> tuple[AddonRecord, ...]:
        """The add-ons of an app, oldest first, running or not."""
        return self._store.addons(app)

    def running(self, app: str) -> tuple[Attached, ...]:
        """Those whose servers run."""
        return self._running.get(app, ())

    # stopping -------------------------------------------------------------------------------------------------------

    async def stop(self, app: str, *, kill: bool = False) -> tuple[str, ...]:
        """Stop an app's servers, data stays. Returns a sentence for each that could not be: the next start reaps it."""
        attached = self._running.pop(app, ())
        return await self._stop_all(((item.record.name, item.backend) for item in attached), kill=kill)

    async def _stop_all(self, names: Iterable[tuple[str, Backend]], *, kill: bool) -> tuple[str, ...]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._stop_one(name, backend, kill=kill)) for name, backend in names]
        return tuple(text for task in tasks if (text := task.result()))

    async def _stop_one(self, name: str, backend: Backend, *, kill: bool) -> str | None:
        try:
            await self._servers[backend].stop(name, kill=kill)
        except HerolocalError as error:
            logging.getLogger("herolocal").warning("stopping %s: %s", name, error)
            return f"{name} could not be stopped; the next `herolocal up` removes it. {error}"
        return None

    async def forget(self, app: str, backend: Backend | None = None) -> None:
        """Stop the servers, remove their data and the records. `backend` says where the data is; None: look everywhere.

        Raises EngineUnavailable when the data is with an engine that does not answer; nothing is forgotten then.
        """
        await self.stop(app, kill=True)
        backends = [backend] if backend is not None else [item for item in Backend if item in self._servers]
        for record in self.records(app):
            for place in backends:
                if backend is not None or await self._servers[place].describe():
                    await self._servers[place].forget(record.volume)
            self._store.delete_addon(record.name)

    async def reap(self, backend: Backend | None = None) -> int:
        """Remove what a killed platform of this home left running, there or everywhere; returns how many servers."""
        count = 0
        for place in [backend] if backend is not None else list(self._servers):
            try:
                count += await self._servers[place].reap()
            except EngineUnavailable as error:
                logging.getLogger("herolocal").info("looking for leftovers: %s", error)
        return count


def _config_vars(request: ServerRequest, attachment: str, server: RunningServer) -> dict[str, str]:
    who = request.credentials
    address = addon.Address(who.user, who.password, who.database, server.host, server.port, server.tls_port)
    return addon.config_vars(request.template, attachment, address, tls=request.tls)
