"""The start of an app: add-ons and build side by side, config vars resolved, release phase, formation."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from herolocal.contracts.source import BuildOptions, BuiltSlug, Project, Source
from herolocal.contracts.store import AppRecord
from herolocal.errors import HerolocalError, ReleaseFailed
from herolocal.model import configvars, formation, manifest
from herolocal.model.choices import Addons, Choices
from herolocal.model.formation import RELEASE, WEB, FormationRow
from herolocal.model.limits import RELEASE_SIZE, RELEASE_TIMEOUT
from herolocal.model.manifest import Manifest
from herolocal.model.release import Release, deploy_description
from herolocal.platform.addons import AddonProgress, Attached
from herolocal.platform.dynos.life import Role, RunnableRelease
from herolocal.platform.dynos.manager import DynoManager
from herolocal.platform.logplex import Logplex
from herolocal.platform.means import Means
from herolocal.platform.news import News, Step
from herolocal.platform.releases import Releases
from herolocal.platform.web import Web


class Start:
    """`run` brings the app up to its first dynos. `project`, `attached` and `record` are what it found and changed."""

    def __init__(
        self,
        record: AppRecord,
        choices: Choices,
        means: Means,
        *,
        news: News,
        logplex: Logplex,
        dynos: DynoManager,
        web: Web,
    ) -> None:
        self.record = record
        self.project: Project | None = None
        self.attached: tuple[Attached, ...] = ()
        self.releases = Releases(means.state, means.clock, record.name)
        self.addon_states: dict[str, str] = {}
        self._choices = choices
        self._means = means
        self._news = news
        self._logplex = logplex
        self._dynos = dynos
        self._web = web

    async def run(self, group: asyncio.TaskGroup, isolation: str) -> None:
        """Returns when the first dynos were told to start; the router serves in `group`. Raises what failed first."""
        directory = Path(self._choices.directory)
        procfile = Path(self._choices.procfile) if self._choices.procfile else None
        self.project = project = self._means.projects.read(directory, procfile)
        rows = self._formation(project)
        source = await self._means.sources.read(directory)
        env = self._means.projects.read_env(directory, tuple(Path(name) for name in self._choices.env_files))
        self._open_web(configvars.port_of(env), group)
        self._introduce(project, source, isolation)
        built, self.attached = await self._build_and_attach(project, source)
        app_json, config = self._recorded(project.manifest, {entry.name for entry in env})
        resolved = configvars.resolve(
            app_json=app_json,
            env=env,
            config=config,
            attachments={item.record.attachment: item.config_vars for item in self.attached},
        )
        for text in (*resolved.notes, *built.notes):
            self._news.note(text)
        missing = [item.name for item in project.manifest.env if item.required and item.name not in resolved.values]
        for text in (*(_unset(name) for name in missing), *resolved.warnings):
            self._news.note(text, warning=True)
        await self._release(project, source, built, resolved.values)
        self._means.state.save_formation(self.record.name, rows)
        self._dynos.scale(rows)

    # what the app says of itself ------------------------------------------------------------------------------------

    def _formation(self, project: Project) -> tuple[FormationRow, ...]:
        types = tuple(project.procfile.commands)
        rows = formation.initial(types, project.manifest.formation, self._choices.types)
        if self._choices.formation:
            rows = formation.apply(rows, formation.parse(self._choices.formation), types)
        return rows

    def _recorded(self, asked: Manifest, in_env: Collection[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Values of app.json, and recorded config vars. A generated secret is made once, and yields to `.env`."""
        state, name = self._means.state, self.record.name
        known = dict(state.config_vars(name))
        generated = {item.name for item in asked.env if item.generator}
        values = manifest.values(asked, self._means.random, known)
        secrets = {key: values[key] for key in generated - known.keys() - set(in_env)}
        if secrets:
            state.save_config_vars(name, {**known, **secrets})
        recorded = {**known, **secrets}
        return (
            {key: value for key, value in values.items() if key not in generated},
            {key: value for key, value in recorded.items() if key not in generated & set(in_env)},
        )

    def _open_web(self, env_port: int | None, group: asyncio.TaskGroup) -> None:
        note = self._web.open(self._choices.port or env_port, self.record.port, group)
        if note:
            self._news.note(f"{note}; the router uses port {self._web.port} instead.")
        if self._web.port != self.record.port:
            self.record = replace(self.record, port=self._web.port)
            self._means.state.save_app(self.record)

    def _introduce(self, project: Project, source: Source, isolation: str) -> None:
        self._news.event(
            "app",
            name=self.record.name,
            directory=str(source.directory),
            branch=source.branch,
            commit=source.commit,
            untracked=list(source.untracked),
            modified=list(source.modified),
            url=self._web.url,
        )
        self._news.note(isolation)
        for text in (*project.notes, *source.notes):
            self._news.note(text, warning=True)
        if set(project.procfile.commands) - {WEB, RELEASE} and not self._choices.types:
            self._news.note("A first deploy on Heroku starts web only; herolocal runs one dyno of each type.")

    # build and add-ons, side by side --------------------------------------------------------------------------------

    async def _build_and_attach(self, project: Project, source: Source) -> tuple[BuiltSlug, tuple[Attached, ...]]:
        async with asyncio.TaskGroup() as group:
            build = group.create_task(self._build(source))
            attach = group.create_task(self._attach(project))
        return build.result(), attach.result()

    async def _build(self, source: Source) -> BuiltSlug:
        since = self._means.clock.monotonic()
        options = BuildOptions(
            caller=self._choices.caller,
            install=self._choices.build,
            python_any=self._choices.python_any,
        )
        self._news.step(Step("build", "build"), "started")
        try:
            built = await self._means.slugs.build(
                source, options, lambda line: self._news.event("build-output", text=line)
            )
        except HerolocalError:
            self._news.step(Step("build", "build"), "failed", since)
            raise
        self._news.step(Step("build", "build", built.summary, "cached" if built.cached else ""), "done", since)
        return built

    async def _attach(self, project: Project) -> tuple[Attached, ...]:
        addons, choices = self._means.addons, self._choices
        backend = await addons.choose(str(choices.addons), self.record.backend, fresh=choices.fresh)
        if backend is None:
            return ()
        if choices.caller.get("CI") == "true" and choices.addons is Addons.AUTO and self.record.backend is None:
            self._news.note(
                f"CI=true, and nothing says where add-ons run: it is {backend} now, and may be another on the next "
                "machine. Say --addons docker or --addons embedded.",
                warning=True,
            )
        wanted = addons.wanted(self.record.name, project.manifest.addons, project.packages)
        for text in wanted.notes:
            self._news.note(text)
        if not wanted.requests:
            return ()
        since = self._means.clock.monotonic()
        for request in wanted.requests:
            self._news.step(Step("addons", f"{request.service}:{request.plan}"), "started")
        try:
            attached = await addons.ensure(
                self.record.name,
                wanted.requests,
                backend,
                fresh=choices.fresh,
                tls=choices.addon_tls,
                images=choices.images,
                image_prefix=choices.caller.get("HEROLOCAL_IMAGE_PREFIX", ""),
                report=lambda progress: self._told_of_addon(progress, since),
            )
        except HerolocalError:
            self._news.step(Step("addons", "add-ons"), "failed")
            raise
        if backend is not self.record.backend and not choices.fresh:
            self.record = replace(self.record, backend=backend)
            self._means.state.save_app(self.record)
        return attached

    def _told_of_addon(self, progress: AddonProgress, since: float) -> None:
        self.addon_states[progress.name] = "provisioned" if progress.is_ready else "provisioning"
        detail = progress.detail if progress.is_ready else progress.phase
        step = Step("addons", progress.addon, detail, ", ".join(progress.config_vars))
        self._news.step(step, "done" if progress.is_ready else "progress", since)
        if progress.is_ready and progress.parity:
            self._news.note(f"{progress.addon.partition(':')[0]}: {progress.parity}")

    # the release ----------------------------------------------------------------------------------------------------

    async def _release(self, project: Project, source: Source, built: BuiltSlug, values: Mapping[str, str]) -> None:
        since = self._means.clock.monotonic()
        description = deploy_description(source.commit, uncommitted=bool(source.modified or source.untracked))
        release = self.releases.begin(description, self._means.user, slug=built.checksum, commit=source.commit)
        name = f"v{release.version}"
        self._logplex.line("app", "api", f"{description} by user {self._means.user}")
        runnable = RunnableRelease(
            version=release.version,
            commands=project.procfile.commands,
            tree=built.tree,
            config_vars=values,
            caller=self._choices.caller if built.in_callers_environment else None,
        )
        step = Step("release", name, "release phase" if RELEASE in runnable.commands else "no release phase")
        self._news.step(step, "started")
        try:
            await self._release_phase(release, runnable)
        except HerolocalError:
            self.releases.finish(release, succeeded=False)
            self._news.step(step, "failed", since)
            raise
        self.releases.finish(release, succeeded=True)
        self._logplex.line("app", "api", f"Release {name} created by user {self._means.user}")
        self._news.step(step, "done", since)
        self._dynos.deploy(runnable, self._means.state.formation(self.record.name) if self._dynos.dynos() else ())

    async def _release_phase(self, release: Release, runnable: RunnableRelease) -> None:
        """Run the release command in its one-off dyno; raises ReleaseFailed, and the old formation stays.

        https://devcenter.heroku.com/articles/release-phase
        """
        command = runnable.commands.get(RELEASE)
        if command is None:
            return
        self._logplex.line("app", "api", f"Running release v{release.version} commands by user {release.user}")
        name = self._dynos.one_off_name(RELEASE, self._means.random)
        life = self._dynos.one_off(Role(name, command, RELEASE_SIZE), release=runnable)
        try:
            await life.ends_within(RELEASE_TIMEOUT)
        finally:
            if not life.exited.done():
                life.kill("killed")
        status = await life.exited
        await life.finished.wait()
        if status:
            raise ReleaseFailed(
                f"The release command `{command}` of v{release.version} ended with status {status}. "
                "Its output is in the log above; dynos were not started, a release that ran before stays."
            )


def _unset(name: str) -> str:
    return f"app.json requires {name}, and nothing sets it: put it into .env."
