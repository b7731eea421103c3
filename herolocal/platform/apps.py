"""All apps of one home: which directory is which app, which of them run, and when the platform is no longer needed."""

import asyncio
import logging
import uuid
from dataclasses import replace
from pathlib import Path

from herolocal.contracts.store import AppRecord
from herolocal.errors import Conflict, NotFound
from herolocal.model.choices import Choices
from herolocal.model.limits import KEPT_RELEASES
from herolocal.model.names import app_name_for
from herolocal.platform.means import Means
from herolocal.platform.releases import Releases
from herolocal.platform.running import RunningApp


class Apps:
    """Runs inside its own TaskGroup; `run` returns when the last app has ended and nobody holds on to the platform."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self._running: dict[str, RunningApp] = {}
        self._by_request: dict[str, RunningApp] = {}
        self._holders = 0
        self._ending = False
        self._group: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()

    # being needed ---------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Somebody needs the platform (a lease)."""
        self._holders += 1

    def release(self) -> None:
        """One lease less; without lease and app the platform ends."""
        self._holders -= 1
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._running and (self._ending or self._holders == 0):
            self._idle.set()

    async def run(self) -> None:
        """Hold the tasks of all apps; returns once nobody needs the platform."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._idle.wait()
            self._group = None

    def end_soon(self, *, kill: bool = False) -> None:
        """End every app, as `down` does for each, and then the platform, whoever holds on to it."""
        for app in self._running.values():
            app.stop_soon(kill=kill)
        self._ending = True
        self._check_idle()

    # apps -----------------------------------------------------------------------------------------------------------

    def records(self) -> tuple[AppRecord, ...]:
        """Every app this home knows, running or not."""
        return self.means.state.apps()

    def record(self, name: str) -> AppRecord:
        """By name or id; raises NotFound in Heroku's words."""
        for app in self.records():
            if name in (app.name, app.id):
                return app
        raise NotFound("Couldn't find that app.")

    def slugs_to_keep(self) -> frozenset[str]:
        """Those of each app's newest releases, and of the one that runs whatever came after it."""
        releases = [Releases(self.means.state, self.means.clock, app.name) for app in self.records()]
        newest = {item.slug for ledger in releases for item in ledger.all()[-KEPT_RELEASES:]}
        current = {item.slug for ledger in releases if (item := ledger.current())}
        return frozenset(newest | current) - {""}

    def of_directory(self, directory: str) -> AppRecord | None:
        """The app whose directory this is."""
        return next((app for app in self.records() if app.directory == directory), None)

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return name in self._running

    def running(self, name: str) -> RunningApp:
        """The running app; raises NotFound when it is unknown or down."""
        record = self.record(name)
        if record.name not in self._running:
            raise NotFound(f"{record.name} is not running. Start it with `herolocal up` in {record.directory}.")
        return self._running[record.name]

    def tell(self, name: str, text: str) -> None:
        """A line of herolocal's own in the log of an app that runs."""
        if name in self._running:
            self._running[name].logplex.line("heroku", "addons", f"herolocal: {text}")

    def start(self, choices: Choices) -> RunningApp:
        """Start the app of a directory, made known the first time; the same request again is the same start.

        Raises Conflict when the app runs already.
        """
        if choices.id in self._by_request:
            return self._by_request[choices.id]
        record = self.of_directory(choices.directory) or self._create(choices.directory)
        if record.name in self._running:
            raise Conflict(self._already(record))
        if self._group is None or self._ending:
            raise Conflict("The platform is ending; try again.")
        app = RunningApp(record, choices, self.means)
        self._running[record.name] = self._by_request[choices.id] = app
        self._group.create_task(self._run(app))
        return app

    def forget_request(self, app: RunningApp) -> None:
        """The watcher of this start has left: its request means nothing any more."""
        self._by_request.pop(app.choices.id, None)

    def _already(self, record: AppRecord) -> str:
        url = self._running[record.name].web.url
        return (
            f"{record.name} is already up here, at {url}. See its log with `herolocal logs --tail`, restart it with "
            "`herolocal restart`, or end it with `herolocal down` first."
        )

    async def _run(self, app: RunningApp) -> None:
        try:
            await app.run()
        except Exception:
            logging.getLogger("herolocal").exception("app %s", app.record.name)
        finally:
            self._running.pop(app.record.name, None)
            self._check_idle()

    def _create(self, directory: str) -> AppRecord:
        taken = {app.name for app in self.records()}
        record = AppRecord(
            id=str(uuid.uuid4()),
            name=app_name_for(Path(directory).name, taken),
            directory=directory,
            created_at=self.means.clock.now(),
        )
        self.means.state.save_app(record)
        return record

    async def forget_data(self, name: str) -> None:
        """Remove the data of an app's add-ons (`down --volumes`); the app must be down."""
        if name in self._running:
            raise Conflict(f"{name} is running; its data cannot be removed under it.")
        record = self.record(name)
        await self.means.addons.forget(record.name, record.backend)
        self.means.state.save_app(replace(record, backend=None))
