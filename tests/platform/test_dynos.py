"""The dyno manager, by the lines it logs: boot, crash, stop, restart, release, as Heroku's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from herolocal.contracts.workspace import SlugTree
from herolocal.errors import Conflict, NotFound, SpawnFailed
from herolocal.model.dyno import State
from herolocal.model.formation import FormationRow
from herolocal.model.limits import SIZES
from herolocal.platform.dynos.life import Machine, Role, RunnableRelease
from herolocal.platform.dynos.manager import DynoManager
from herolocal.platform.dynos.slot import cool_off
from herolocal.platform.logplex import Logplex
from tests.fakes import FakeClock, FakeIsolation, FakePorts, FakeProcess

RELEASE = RunnableRelease(1, {"web": "serve", "worker": "work"}, SlugTree(Path("/slug")), {"A": "1"})
WEB = (FormationRow("web", 1),)


@dataclass
class Stage:
    """A manager among fakes."""

    isolation: FakeIsolation = field(default_factory=FakeIsolation)
    ports: FakePorts = field(default_factory=FakePorts)
    clock: FakeClock = field(default_factory=FakeClock)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.logplex = Logplex(self.clock)

        async def lost(life: Any, _changes: Any) -> None:
            self.reasons.append(life.reason)

        machine = Machine(self.isolation, self.isolation, self.ports, self.clock)
        self.dynos = DynoManager(machine, self.logplex, lost, lambda: None)

    @asynccontextmanager
    async def running(self, rows: tuple[FormationRow, ...] = WEB) -> AsyncIterator["Stage"]:
        task = asyncio.create_task(self.dynos.run())
        await self.dynos.started()
        self.dynos.deploy(RELEASE, ())
        self.dynos.scale(rows)
        try:
            yield self
        finally:
            self.dynos.order_stop(kill=True)
            await self.dynos.stopped()
            await task

    def lines(self, dyno: str = "web.1") -> list[str]:
        """What was logged of a dyno, without time and source."""
        mark = f"heroku[{dyno}]: "
        return [line.split(mark)[1] for line in self.logplex.history(1500).decode().splitlines() if mark in line]

    async def settle(self, done: Callable[[], bool]) -> None:
        """Let the loop turn until it is so."""
        for _ in range(1000):
            if done():
                return
            await asyncio.sleep(0)
        raise AssertionError(self.lines())


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_web_dyno_boots_is_given_its_port_and_stops_at_sigterm() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running():
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))
            environment = stage.isolation.launched[0].environment
            assert (environment["PORT"], environment["DYNO"], environment["A"]) == ("10001", "web.1", "1")
            assert [target.port for target in stage.dynos.web_targets()] == [10001]
            stage.dynos.order_stop()
            await stage.dynos.stopped()
        assert stage.lines() == [
            "Starting process with command `serve`",
            "State changed from starting to up",
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
        ]
        assert stage.reasons == ["stop"]
        assert len(stage.isolation.wiped) == 1

    play(story)


def test_a_process_deaf_to_sigterm_is_killed_after_30_seconds_with_r12() -> None:
    async def story() -> None:
        stage = Stage(FakeIsolation(deaf=True))
        async with stage.running():
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))
            stage.dynos.order_stop()
            process = stage.isolation.processes[0]
            await stage.settle(lambda: any(due == 30.0 for due, _ in stage.clock.sleepers))
            stage.clock.pass_(29.9)
            await asyncio.sleep(0)
            assert process.signals == ["TERM"]
            stage.clock.pass_(0.2)
            await stage.dynos.stopped()
            assert process.signals == ["TERM", "KILL"]
        assert stage.lines()[-3:] == [
            "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM",
            "Stopping remaining processes with SIGKILL",
            "Process exited with status 137",
        ]

    play(story)


@pytest.mark.parametrize("addresses", [(), ("127.0.0.1",), ("::1",)], ids=["none", "loopback", "loopback v6"])
def test_a_web_dyno_that_nobody_can_reach_ends_in_r10_after_60_seconds(addresses: tuple[str, ...]) -> None:
    async def story() -> None:
        stage = Stage(ports=FakePorts(addresses))
        async with stage.running():
            await stage.settle(lambda: len(stage.clock.sleepers) > 0)
            stage.clock.pass_(60.1)
            await stage.settle(
                lambda: State.STARTING not in stage.dynos.states("web") or len(stage.isolation.launched) > 1
            )
            lines = stage.lines()
            at = lines.index(
                "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"
            )
            assert lines[at + 1 : at + 4] == [
                "Stopping process with SIGKILL",
                "Process exited with status 137",
                "State changed from starting to crashed",
            ]
            assert any("bind 0.0.0.0" in line for line in lines) == bool(addresses)

    play(story)


def test_the_first_crash_restarts_at_once_the_next_waits_and_a_restart_ends_the_wait() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running((FormationRow("worker", 1),)):
            started = stage.isolation.processes
            await stage.settle(lambda: stage.dynos.states("worker") == (State.UP,))
            started[0].end(1)
            await stage.settle(lambda: len(started) == 2)
            started[1].end(1)
            await stage.settle(lambda: stage.dynos.states("worker") == (State.CRASHED,))
            await stage.settle(lambda: any(due > 9 for due, _ in stage.clock.sleepers))
            stage.dynos.restart("worker")
            await stage.settle(lambda: len(started) == 3)
        assert stage.lines("worker.1")[:6] == [
            "Starting process with command `work`",
            "State changed from starting to up",
            "Process exited with status 1",
            "State changed from up to crashed",
            "State changed from crashed to starting",
            "Starting process with command `work`",
        ]
        assert stage.reasons[:2] == ["crash", "crash"]

    play(story)


def test_an_exit_with_status_0_is_a_crash_too_and_touches_no_other_dyno() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running((FormationRow("web", 1), FormationRow("worker", 1))):
            await stage.settle(lambda: stage.dynos.states("web") + stage.dynos.states("worker") == (State.UP, State.UP))
            web = [item for item in stage.isolation.launched if item.name == "web.1"]
            index = stage.isolation.launched.index(next(i for i in stage.isolation.launched if i.name == "worker.1"))
            stage.isolation.processes[index].end(0)
            await stage.settle(lambda: "State changed from up to crashed" in stage.lines("worker.1"))
            assert (len(web), stage.dynos.states("web")) == (1, (State.UP,))

    play(story)


def test_a_restart_starts_the_new_one_while_the_old_one_ends() -> None:
    async def story() -> None:
        stage = Stage(FakeIsolation(deaf=True))
        async with stage.running():
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))
            assert stage.dynos.restart("web.1") == ("web.1",)
            await stage.settle(lambda: len(stage.isolation.processes) == 2 and stage.dynos.states("web") == (State.UP,))
            old, new = stage.isolation.processes
            assert (old.signals, new.signals) == (["TERM"], [])
            assert [target.port for target in stage.dynos.web_targets()] == [10002]
            with pytest.raises(NotFound, match=r"Running: web.1"):
                stage.dynos.restart("web.9")
        assert stage.lines()[2:4] == ["Restarting", "State changed from up to starting"]

    play(story)


def test_a_release_restarts_all_and_stops_types_that_are_gone() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running((FormationRow("web", 2), FormationRow("worker", 1))):
            await stage.settle(lambda: stage.dynos.states("worker") == (State.UP,))
            second = RunnableRelease(2, {"web": "serve 2"}, SlugTree(Path("/slug2")), {})
            stage.dynos.deploy(second, (FormationRow("web", 1),))
            await stage.settle(lambda: len(stage.dynos.dynos()) == 1 and stage.dynos.states("web") == (State.UP,))
            await stage.settle(lambda: stage.reasons.count("release") == 3)
            (dyno,) = stage.dynos.dynos()
            assert (dyno.command, dyno.release) == ("serve 2", 2)

    play(story)


def test_a_one_off_dyno_runs_once_and_leaves_the_list() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running():
            life = stage.dynos.one_off(Role("run.1234", "rake db:migrate", SIZES[1]))
            await stage.settle(lambda: any(item.name == "run.1234" for item in stage.isolation.launched))
            index = next(n for n, item in enumerate(stage.isolation.launched) if item.name == "run.1234")
            stage.isolation.processes[index].end(7)
            assert await life.exited == 7
            await stage.settle(lambda: all(dyno.name != "run.1234" for dyno in stage.dynos.dynos()))
        assert stage.lines("run.1234") == [
            "Starting process with command `rake db:migrate`",
            "State changed from starting to up",
            "Process exited with status 7",
            "State changed from up to complete",
        ]

    play(story)


def test_a_fault_of_ours_in_one_dyno_keeps_nobody_waiting_and_touches_no_other() -> None:
    async def story() -> None:
        stage = Stage()

        def fail(_process: FakeProcess) -> None:
            if stage.isolation.launched[-1].name == "worker.1":
                raise RuntimeError("a fault")

        stage.isolation.at_start = fail
        async with stage.running((FormationRow("web", 1), FormationRow("worker", 1))):
            await stage.settle(lambda: any("R99" in line for line in stage.lines("worker.1")))
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))
            assert len(stage.isolation.wiped) == 1

    play(story)


def test_a_port_that_cannot_be_had_counts_as_a_crash() -> None:
    async def story() -> None:
        stage = Stage()
        real, stage.ports.lend = stage.ports.lend, refuse  # type: ignore[method-assign]  # a fake of ours
        async with stage.running():
            await stage.settle(lambda: any("next start in 10 s" in line for line in stage.lines()))
            await stage.settle(lambda: bool(stage.clock.sleepers))
            stage.ports.lend = real  # type: ignore[method-assign]  # a fake of ours
            stage.clock.pass_(10)
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))

    play(story)


def refuse() -> int:
    raise SpawnFailed("no port")


def test_a_restart_does_not_forget_the_release_or_size_that_waits() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running():
            await stage.settle(lambda: stage.dynos.states("web") == (State.UP,))
            stage.dynos.deploy(replace(RELEASE, version=2), WEB)
            stage.dynos.scale((FormationRow("web", 1, SIZES[3]),))
            stage.dynos.restart()
            await stage.settle(lambda: stage.dynos.dynos()[0].release == 2)
            assert stage.dynos.dynos()[0].size == SIZES[3]

    play(story)


def test_nothing_more_is_run_once_the_app_stops() -> None:
    async def story() -> None:
        stage = Stage()
        async with stage.running():
            stage.dynos.order_stop()
            with pytest.raises(Conflict, match="stopping"):
                stage.dynos.one_off(Role("run.1", "x", SIZES[0]))

    play(story)


def test_the_cool_off_grows_to_its_ceiling() -> None:
    assert [cool_off(crashes) for crashes in (1, 2, 3, 4, 20)] == [0.0, 10.0, 20.0, 40.0, 1200.0]
