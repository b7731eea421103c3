"""One app at work: add-ons and build side by side, release phase, formation, router, and all of it away at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from herolocal.contracts.source import BuildOptions, BuiltSlug, Project, Source
from herolocal.contracts.store import AppRecord
from herolocal.contracts.workspace import Change
from herolocal.errors import HerolocalError, NotFound, ReleaseFailed, UsageError
from herolocal.model import configvars, formation, manifest
from herolocal.model.choices import Choices
from herolocal.model.dyno import State
from herolocal.model.formation import RELEASE, WEB, FormationRow
from herolocal.model.limits import RELEASE_SIZE, RELEASE_TIMEOUT
from herolocal.model.loss import Wipe, shared_nothing_hints
from herolocal.model.manifest import Manifest
from herolocal.model.release import Release, deploy_description
from herolocal.platform.addons import AddonProgress, Attached
from herolocal.platform.dynos.life import Life, Machine, Role, RunnableRelease
from herolocal.platform.dynos.manager import DynoManager, next_one_off_name
from herolocal.platform.logplex import Logplex, Session
from herolocal.platform.losses import written
from herolocal.platform.means import Isolated, Means
from herolocal.platform.news import News, Step
from herolocal.platform.releases import Releases
from herolocal.platform.web import Web

FAILED = 1
USAGE = 2
_LOOK_AROUND = 3.0  # seconds between two looks at what web dynos wrote while more than one runs


class RunningApp:
    """`run` returns when everything has ended; `stop` asks for that. `ready` is set while the app serves."""

    def __init__(self, record: AppRecord, choices: Choices, means: Means) -> None:
        self.record = record
        self.choices = choices
        self.logplex = Logplex(means.clock)
        self.news = News(self.logplex.post, means.clock)
        self._first: Session | None = self.logplex.open()
        self.releases = Releases(means.state, means.clock, record.name)
        self.isolated: Isolated = means.isolate(choices.isolation)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: HerolocalError | None = None
        self.status = 0
        self.project: Project | None = None
        self.attached: tuple[Attached, ...] = ()
        self._means = means
        machine = Machine(self.isolated.runner, self.isolated.workspaces, means.ports, means.clock)
        self.dynos = DynoManager(machine, self.logplex, self._lost, self._changed)
        self.web = Web(record.name, self.dynos, self.logplex, means)
        self._stop_asked = asyncio.Event()
        self._kill = False
        self._required: tuple[str, ...] = ()
        self._group: asyncio.TaskGroup | None = None

    # life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start, serve, stop. Errors are told as events; only faults of ours are raised."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.dynos.run())
                look = group.create_task(self._look_around())
                await self.dynos.started()
                await self._start_unless_stopped()
                if self.failure is None:
                    await self._stop_asked.wait()
                look.cancel()
                await self._shut()
        except BaseException as error:  # a cancellation comes from a fault elsewhere in the platform
            self.status = FAILED
            text = f"herolocal itself failed: {error!r}. The platform's log has the details."
            self.news.event("error", id="internal", message=text)
            raise
        finally:
            self.ready.clear()
            self.news.event("end", status=self.status)
            self.ended.set()
            self.logplex.close()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Session]:
        """All it tells: for the first watcher from its start on, for others from now on."""
        session, self._first = self._first or self.logplex.open(), None
        try:
            yield session
        finally:
            self.logplex.discard(session)

    def stop_soon(self, *, kill: bool = False) -> None:
        """Ask for the end; with `kill`, or a second time with it, nothing gets time to finish."""
        self._kill |= kill
        self._stop_asked.set()
        if kill:
            self.dynos.order_stop(kill=True)

    async def stop(self, *, kill: bool = False) -> None:
        """Ask for the end and wait for it."""
        self.stop_soon(kill=kill)
        await self.ended.wait()

    @property
    def is_stopping(self) -> bool:
        """Whether its end was asked for."""
        return self._stop_asked.is_set()

    @property
    def commands(self) -> Mapping[str, str]:
        """The Procfile's commands by process type, once it was read."""
        return self.project.procfile.commands if self.project else {}

    def now(self) -> datetime:
        """The platform's clock."""
        return self._means.clock.now()

    def addon_states(self) -> list[dict[str, str]]:
        """Each add-on's name and state, for the health document."""
        return [{"name": item.record.name, "state": "provisioned"} for item in self.attached]

    async def _start_unless_stopped(self) -> None:
        start = asyncio.ensure_future(self._start())
        stop = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not start.done():
                start.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({start})
        if not start.cancelled():
            self._told(start.exception())

    def _told(self, error: BaseException | None) -> None:
        """Tell a failed start to whoever watches."""
        if error is None:
            return
        failure = _ours(error)
        if failure is None:
            raise error
        self.failure = failure
        self.status = USAGE if isinstance(failure, UsageError) else FAILED
        self.news.event("error", id=type(failure).__name__, message=str(failure))

    async def _shut(self) -> None:
        """Dynos first, then the router, then the add-ons they used."""
        self.dynos.order_stop(kill=self._kill)
        await self.dynos.stopped()
        await self.web.close()
        await self._means.addons.stop(self.record.name, kill=self._kill)

    # the start ------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        directory = Path(self.choices.directory)
        procfile = Path(self.choices.procfile) if self.choices.procfile else None
        project = self._means.projects.read(directory, procfile)
        source = await self._means.sources.read(directory)
        self.project = project = _only(project, self.choices.types)
        rows = self._formation(project)
        env = self._means.projects.read_env(directory, tuple(Path(name) for name in self.choices.env_files))
        self._open_web(configvars.port_of(env))
        self._introduce(project, source)
        built, self.attached = await self._build_and_attach(project, source)
        resolved = configvars.resolve(
            app_json=self._from_app_json(project.manifest),
            env=env,
            config=self._means.state.config_vars(self.record.name),
            attachments={item.record.attachment: item.config_vars for item in self.attached},
        )
        for text in (*resolved.notes, *built.notes):
            self.news.note(text)
        for name in self._required:
            if name not in resolved.values:
                self.news.note(f"app.json requires {name}, and nothing sets it: put it into .env.", warning=True)
        for text in resolved.warnings:
            self.news.note(text, warning=True)
        await self._release(project, source, built, resolved.values)
        self._means.state.save_formation(self.record.name, rows)
        self.dynos.scale(rows)
        self.news.event("started", **self._urls())
        await self._until_ready()

    def _from_app_json(self, asked: Manifest) -> dict[str, str]:
        """Values of app.json; a generated secret is made once, and then it is a config var like any other."""
        state, name = self._means.state, self.record.name
        known = state.config_vars(name)
        values = manifest.values(asked, self._means.random, known)
        secrets = {item.name: values[item.name] for item in asked.env if item.generator and item.name not in known}
        if secrets:
            state.save_config_vars(name, {**known, **secrets})
        missing = [item.name for item in asked.env if item.required and item.name not in values]
        self._required = tuple(missing)
        return values

    def _formation(self, project: Project) -> tuple[FormationRow, ...]:
        types = tuple(project.procfile.commands)
        rows = formation.initial(types, project.manifest.formation)
        if self.choices.formation:
            rows = formation.apply(rows, formation.parse(self.choices.formation), types)
        return rows

    def _open_web(self, env_port: int | None) -> None:
        group = self._group
        if group is None:
            raise NotFound(f"{self.record.name} is not running.")
        note = self.web.open(self.choices.port or env_port, self.record.port, group)
        if note:
            self.news.note(f"{note}; the router uses port {self.web.port} instead.")
        if self.web.port != self.record.port:
            self.record = replace(self.record, port=self.web.port)
            self._means.state.save_app(self.record)

    def _introduce(self, project: Project, source: Source) -> None:
        self.news.event(
            "app",
            name=self.record.name,
            directory=str(source.directory),
            branch=source.branch,
            commit=source.commit,
            untracked=list(source.untracked),
            modified=list(source.modified),
            url=self.web.url,
        )
        self.news.note(self.isolated.note)
        for text in (*project.notes, *source.notes):
            self.news.note(text, warning=True)
        if set(project.procfile.commands) - {WEB, RELEASE} and not self.choices.types:
            self.news.note("A first deploy on Heroku starts web only; herolocal runs one dyno of each type.")

    async def _build_and_attach(self, project: Project, source: Source) -> tuple[BuiltSlug, tuple[Attached, ...]]:
        async with asyncio.TaskGroup() as group:
            build = group.create_task(self._build(source))
            attach = group.create_task(self._attach(project))
        return build.result(), attach.result()

    async def _build(self, source: Source) -> BuiltSlug:
        since = self._means.clock.monotonic()
        options = BuildOptions(
            caller=self.choices.caller,
            install=self.choices.build,
            python_any=self.choices.python_any,
        )
        self.news.step(Step("build", "build"), "started")
        try:
            built = await self._means.slugs.build(
                source, options, lambda line: self.news.event("build-output", text=line)
            )
        except HerolocalError:
            self.news.step(Step("build", "build"), "failed", since)
            raise
        self.news.step(Step("build", "build", built.summary, "cached" if built.cached else ""), "done", since)
        return built

    async def _attach(self, project: Project) -> tuple[Attached, ...]:
        addons = self._means.addons
        backend = await addons.choose(str(self.choices.addons), self.record.backend, fresh=self.choices.fresh)
        if backend is None:
            return ()
        wanted = addons.wanted(self.record.name, project.manifest.addons, project.packages)
        for text in wanted.notes:
            self.news.note(text)
        if not wanted.requests:
            return ()
        if backend is not self.record.backend and not self.choices.fresh:
            self.record = replace(self.record, backend=backend)
            self._means.state.save_app(self.record)
        since = self._means.clock.monotonic()
        for request in wanted.requests:
            self.news.step(Step("addons", f"{request.service}:{request.plan}"), "started")
        try:
            return await addons.ensure(
                self.record.name,
                wanted.requests,
                backend,
                fresh=self.choices.fresh,
                tls=self.choices.addon_tls,
                images=self.choices.images,
                image_prefix=self.choices.caller.get("HEROLOCAL_IMAGE_PREFIX", ""),
                report=lambda progress: self._told_of_addon(progress, since),
            )
        except HerolocalError:
            self.news.step(Step("addons", "add-ons"), "failed")
            raise

    def _told_of_addon(self, progress: AddonProgress, since: float) -> None:
        detail = progress.detail if progress.is_ready else progress.phase
        step = Step("addons", progress.addon, detail, ", ".join(progress.config_vars))
        self.news.step(step, "done" if progress.is_ready else "progress", since)
        if progress.is_ready and progress.parity:
            self.news.note(progress.parity)

    # the release ----------------------------------------------------------------------------------------------------

    async def _release(self, project: Project, source: Source, built: BuiltSlug, values: dict[str, str]) -> None:
        since = self._means.clock.monotonic()
        description = deploy_description(source.commit, uncommitted=bool(source.modified or source.untracked))
        release = self.releases.begin(description, self._means.user, slug=built.checksum, commit=source.commit)
        name = f"v{release.version}"
        self.logplex.line("app", "api", f"{description} by user {self._means.user}")
        runnable = RunnableRelease(
            version=release.version,
            commands=project.procfile.commands,
            tree=built.tree,
            config_vars=values,
            caller=self.choices.caller if built.in_callers_environment else None,
        )
        step = Step("release", name, "release phase" if RELEASE in runnable.commands else "no release phase")
        self.news.step(step, "started")
        try:
            await self._release_phase(release, runnable)
        except HerolocalError:
            self.releases.finish(release, succeeded=False)
            self.news.step(step, "failed", since)
            raise
        self.releases.finish(release, succeeded=True)
        self.logplex.line("app", "api", f"Release {name} created by user {self._means.user}")
        self.news.step(step, "done", since)
        self.dynos.deploy(runnable, self._means.state.formation(self.record.name) if self.dynos.dynos() else ())

    async def _release_phase(self, release: Release, runnable: RunnableRelease) -> None:
        """Run the release command in its one-off dyno; raises ReleaseFailed, and the old formation stays.

        https://devcenter.heroku.com/articles/release-phase
        """
        command = runnable.commands.get(RELEASE)
        if command is None:
            return
        self.logplex.line("app", "api", f"Running release v{release.version} commands by user {release.user}")
        life = self.dynos.one_off(Role(self.one_off_name(RELEASE), command, RELEASE_SIZE), release=runnable)
        limit = asyncio.ensure_future(self._means.clock.sleep(RELEASE_TIMEOUT))
        try:
            waits: set[asyncio.Future[Any]] = {limit, life.exited}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            if not life.exited.done():
                life.kill("killed")
        status = await life.exited
        await life.finished.wait()
        if status:
            raise ReleaseFailed(
                f"The release command `{command}` of v{release.version} ended with status {status}. "
                "Its output is in the log above; dynos were not started, a release that ran before stays."
            )

    def one_off_name(self, type_: str) -> str:
        """A free name such as `run.4321`."""
        taken = (dyno.name for dyno in self.dynos.dynos())
        return next_one_off_name(type_, taken, self._means.random.randrange(9000))

    async def _until_ready(self) -> None:
        """Wait until all dynos are up; a crash is told, and the app stays for the person to look at."""
        since = self._means.clock.monotonic()
        told: set[str] = set()
        while True:
            dynos = self.dynos.dynos()
            for dyno in dynos:
                if dyno.state in (State.UP, State.CRASHED) and dyno.name not in told:
                    told.add(dyno.name)
                    detail = "  ".join(self.web.urls) if dyno.type == WEB else dyno.command
                    self.news.step(
                        Step("dyno", dyno.name, detail), "done" if dyno.state is State.UP else "failed", since
                    )
            if all(dyno.state is State.UP for dyno in dynos):
                break
            await self.dynos.news()
        self.ready.set()
        self.news.event("ready", **self._urls())

    def _urls(self) -> dict[str, object]:
        return {
            "app": self.record.name,
            "urls": list(self.web.urls),
            "dynos": [{"name": dyno.name, "state": str(dyno.state)} for dyno in self.dynos.dynos()],
        }

    # changes while it runs ------------------------------------------------------------------------------------------

    def scale(self, changes: Sequence[formation.Change]) -> tuple[FormationRow, ...]:
        """Change the formation; returns all its rows."""
        if self.project is None:
            raise NotFound(f"{self.record.name} is still starting, try again.")
        types = tuple(self.project.procfile.commands)
        rows = formation.apply(self._means.state.formation(self.record.name), changes, types)
        self._means.state.save_formation(self.record.name, rows)
        summary = " ".join(f"{row.type}@{row.quantity}:{row.size.name}" for row in rows)
        self.logplex.line("app", "api", f"Scaled to {summary} by user {self._means.user}")
        self.dynos.scale(rows)
        return rows

    def _changed(self) -> None:
        self.web.changed()

    async def _lost(self, life: Life, changes: tuple[Change, ...]) -> None:
        wipe = Wipe(
            app=self.record.name,
            dyno=life.role.name,
            dyno_id=life.id,
            release=life.release.version,
            reason=life.reason,
            at=self.now(),
            command=life.role.command,
            attached=tuple(item.record.service for item in self.attached),
        )
        losses = await self._means.losses.record(changes, wipe)
        hidden = self.isolated.workspaces.hidden_losses
        if losses:
            self.news.lost(life.role.name, life.reason, losses, hidden)

    async def _look_around(self) -> None:
        """While several web dynos run, point out what one wrote and another cannot see, once per path."""
        seen: set[str] = set()
        while True:
            await self._means.clock.sleep(_LOOK_AROUND)
            lives = self.dynos.web_lives()
            if len(lives) < 2:
                continue
            try:
                seen_by = {life.role.name: await life.changes() for life in lives}
            except HerolocalError as error:
                logging.getLogger("herolocal").warning("looking at what web dynos wrote: %s", error)
                continue
            files = {dyno: [written(change) for change in changes] for dyno, changes in seen_by.items()}
            for hint in shared_nothing_hints(files):
                if hint.path not in seen:
                    seen.add(hint.path)
                    self.news.event("shared-nothing", text=hint.text)


def _only(project: Project, types: tuple[str, ...]) -> Project:
    """The project with the named process types only, `release` included; raises UsageError for an unknown one."""
    commands = project.procfile.commands
    for name in types:
        if name not in commands:
            raise UsageError(f"The Procfile has no process type `{name}`. It has: {', '.join(commands)}.")
    if not types:
        return project
    kept = {name: command for name, command in commands.items() if name in types or name == RELEASE}
    return replace(project, procfile=replace(project.procfile, commands=kept))


def _ours(error: BaseException) -> HerolocalError | None:
    """The error of ours in a group of errors, or None when there is a fault among them."""
    if isinstance(error, BaseExceptionGroup):
        found = [_ours(item) for item in error.exceptions]
        return found[0] if found and None not in found else None
    return error if isinstance(error, HerolocalError) else None
