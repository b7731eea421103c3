"""One app from its start to its end: what runs side by side, what a failure leaves, what a fault of ours ends."""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from herolocal.adapters.listeners import Listeners
from herolocal.adapters.sqlite_store import SqliteStore
from herolocal.adapters.templates import read_templates
from herolocal.adapters.trash import FileTrash
from herolocal.contracts.server import Backend
from herolocal.contracts.store import AppRecord
from herolocal.contracts.workspace import IsolationMode
from herolocal.model.choices import Choices
from herolocal.model.dyno import State
from herolocal.platform.addons import Addons
from herolocal.platform.losses import Losses
from herolocal.platform.means import Isolated, Means
from herolocal.platform.running import RunningApp
from tests.fakes import FakeBuilder, FakeClock, FakeIsolation, FakePorts, FakeProcess, FakeProject, FakeServers

COMMANDS = {"web": "serve", "worker": "work", "release": "migrate"}


def no_tls() -> ssl.SSLContext:
    raise AssertionError("nobody speaks TLS here")


@dataclass
class Stage:
    """An app `blog` that wants Redis, among fakes."""

    home: Path
    store: SqliteStore
    isolation: FakeIsolation = field(default_factory=FakeIsolation)
    servers: FakeServers = field(default_factory=FakeServers)
    clock: FakeClock = field(default_factory=FakeClock)
    statuses: dict[str, int] = field(default_factory=lambda: {"release": 0})
    caller: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.isolation.at_start = self._started
        record = AppRecord("1", "blog", "/blog", self.clock.now())
        self.store.save_app(record)
        source, ports, builder = random.Random(7), FakePorts(), FakeBuilder()
        servers = dict.fromkeys(Backend, self.servers)
        means = Means(
            state=self.store,
            clock=self.clock,
            random=source,
            ports=ports,
            listeners=Listeners(ports),
            projects=FakeProject(COMMANDS, frozenset({"redis"})),
            sources=builder,
            slugs=builder,
            addons=Addons(self.store, servers, read_templates(), self.clock, source),
            losses=Losses(self.store, FileTrash(self.home)),
            isolate=lambda _asked: Isolated(IsolationMode.COPY, self.isolation, self.isolation, "fake"),
            tls=no_tls,
            user="ada@localhost",
        )
        self.app = RunningApp(record, Choices("1", "/blog", caller=self.caller), means)
        self.events: list[dict[str, Any]] = []

    def _started(self, process: FakeProcess) -> None:
        """A command that ends by itself does so at once."""
        type_ = self.isolation.launched[-1].name.partition(".")[0]
        if type_ in self.statuses:
            process.end(self.statuses[type_])

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        async def watch() -> None:
            async with self.app.watch() as session:
                async for data in session:
                    self.events += [json.loads(line[1:]) for line in data.split(b"\n") if line.startswith(b"\x1e")]

        watching = asyncio.create_task(watch())
        task = asyncio.create_task(self.app.run())
        try:
            yield self
        finally:
            self.app.stop_soon(kill=True)
            with suppress(BaseExceptionGroup):
                await task
            await watching

    def told(self, event: str) -> list[dict[str, Any]]:
        return [item for item in self.events if item["event"] == event]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    store = SqliteStore(tmp_path / "state.db")
    yield Stage(tmp_path, store)
    store.close()


def test_the_release_phase_runs_once_before_the_first_dyno_and_everything_ends_with_the_app(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running():
            async with asyncio.timeout(10):
                await stage.app.ready.wait()
            names = [launch.name.partition(".")[0] for launch in stage.isolation.launched]
            assert names == ["release", "web", "worker"]
            assert [row.type for row in stage.store.formation("blog")] == ["web", "worker"]
            assert len(stage.servers.running) == 1
        assert stage.servers.running == {}
        assert len(stage.isolation.wiped) == 3
        steps = [item["name"] for item in stage.told("step") if item["step"] == "dyno"]
        assert steps == ["web.1", "worker.1"]
        assert stage.told("end")[-1]["status"] == 0

    asyncio.run(story())


def test_a_failed_release_phase_starts_nothing_and_stops_the_add_ons(stage: Stage) -> None:
    async def story() -> None:
        stage.statuses["release"] = 3
        async with stage.running():
            async with asyncio.timeout(10):
                await stage.app.ended.wait()
        assert [launch.name.partition(".")[0] for launch in stage.isolation.launched] == ["release"]
        assert (stage.servers.running, stage.app.status) == ({}, 1)
        assert "ended with status 3" in stage.told("error")[0]["message"]
        assert [release.status for release in stage.store.releases("blog")] == ["failed"]

    asyncio.run(story())


def test_in_ci_the_choice_of_servers_is_said_loudly(tmp_path: Path, stage: Stage) -> None:
    async def story() -> None:
        told = Stage(tmp_path, stage.store, caller={"CI": "true"})
        for app, times in ((told, 1), (stage, 0)):
            async with app.running():
                async with asyncio.timeout(10):
                    await app.app.ready.wait()
            warnings = [note["text"] for note in app.told("note") if note["level"] == "warning"]
            assert sum("CI=true" in text for text in warnings) == times

    asyncio.run(story())


def test_a_fault_of_ours_ends_dynos_and_add_ons_with_the_app(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running():
            async with asyncio.timeout(10):
                await stage.app.ready.wait()
            stage.app.dynos.web_lives = lambda: (None, None)  # type: ignore[method-assign,assignment,return-value]
            stage.clock.pass_(3)
            async with asyncio.timeout(10):
                await stage.app.ended.wait()
        assert "herolocal itself failed" in stage.told("error")[0]["message"]
        assert all(process.ended.done() for process in stage.isolation.processes)
        assert stage.servers.running == {}
        assert State.UP not in stage.app.dynos.states("web")

    asyncio.run(story())
