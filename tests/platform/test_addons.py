"""An app's add-ons: where they run, which they are, that they start side by side and that no data is mixed up."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from herolocal.adapters.sqlite_store import SqliteStore
from herolocal.adapters.templates import read_templates
from herolocal.contracts.server import Backend
from herolocal.contracts.store import AppRecord
from herolocal.errors import EngineUnavailable, ServerFailed, UnknownAddon
from herolocal.model.manifest import AddonRequest
from herolocal.platform.addons import AddonProgress, Addons
from tests.fakes import FakeClock, FakeServers

DOCKER, EMBEDDED = Backend.DOCKER, Backend.EMBEDDED


@dataclass
class Stage:
    """Add-ons of the app `blog`, with fake servers."""

    store: SqliteStore
    docker: FakeServers = field(default_factory=FakeServers)
    embedded: FakeServers = field(default_factory=FakeServers)

    def __post_init__(self) -> None:
        clock, source = FakeClock(), random.Random(7)
        self.store.save_app(AppRecord("1", "blog", "/blog", clock.now()))
        servers = {DOCKER: self.docker, EMBEDDED: self.embedded}
        self.addons = Addons(self.store, servers, read_templates(), clock, source)

    def start(self, *packages: str, fresh: bool = False) -> tuple[str, ...]:
        """The config vars' names, sorted."""
        wanted = self.addons.wanted("blog", (), packages)
        attached = asyncio.run(self.addons.ensure("blog", wanted.requests, EMBEDDED, fresh=fresh))
        return tuple(sorted(name for item in attached for name in item.config_vars))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    store = SqliteStore(tmp_path / "state.db")
    yield Stage(store)
    store.close()


@pytest.mark.parametrize(
    ("asked", "sticky", "engine", "fresh", "expected"),
    [
        ("auto", None, True, False, DOCKER),
        ("auto", None, False, False, EMBEDDED),
        ("auto", EMBEDDED, True, False, EMBEDDED),
        ("auto", DOCKER, True, False, DOCKER),
        ("auto", DOCKER, False, False, "Data of this app's add-ons is in a container engine, which does not answer"),
        ("auto", DOCKER, False, True, EMBEDDED),
        ("docker", None, True, False, DOCKER),
        ("docker", None, False, False, "no container engine answers"),
        ("docker", EMBEDDED, True, False, "so --addons docker would begin with empty ones"),
        ("embedded", DOCKER, True, False, "so --addons embedded would begin with empty ones"),
        ("embedded", DOCKER, True, True, EMBEDDED),
        ("none", DOCKER, True, False, None),
    ],
)
def test_the_choice_of_servers_sticks_so_that_no_empty_database_takes_the_place_of_a_full_one(
    stage: Stage, asked: str, sticky: Backend | None, engine: bool, fresh: bool, expected: Backend | str | None
) -> None:
    stage.docker.version = "Docker 28" if engine else None
    choice = stage.addons.choose(asked, sticky, fresh=fresh)
    if isinstance(expected, str) and not isinstance(expected, Backend):
        with pytest.raises(EngineUnavailable, match=expected):
            asyncio.run(choice)
    else:
        assert asyncio.run(choice) is expected


def test_packages_imply_add_ons_only_where_nothing_names_any(stage: Stage) -> None:
    assert stage.start("psycopg2-binary", "rq") == ("DATABASE_URL", "REDIS_URL")
    wanted = stage.addons.wanted("blog", (), ["elasticsearch"])
    assert [request.service for request in wanted.requests] == ["heroku-postgresql", "heroku-redis"]


def test_what_app_json_names_is_added_to_what_is_there(stage: Stage) -> None:
    stage.start("psycopg2")
    wanted = stage.addons.wanted("blog", [AddonRequest("searchbox:starter"), AddonRequest("heroku-postgresql")], ())
    assert [request.service for request in wanted.requests] == ["heroku-postgresql", "searchbox"]


def test_an_old_plan_is_mapped_and_said_an_unknown_one_refused(stage: Stage) -> None:
    wanted = stage.addons.wanted("blog", [AddonRequest("heroku-postgresql:hobby-dev")], ())
    assert wanted.requests[0].plan == "essential-0"
    assert "hobby-dev" in wanted.notes[0]
    with pytest.raises(UnknownAddon, match="heroku-postgresql, heroku-redis, searchbox"):
        stage.addons.wanted("blog", [AddonRequest("papertrail")], ())


def test_a_second_start_finds_the_same_add_on_and_its_data(stage: Stage) -> None:
    stage.start("redis")
    volumes = set(stage.embedded.volumes)
    asyncio.run(stage.addons.stop("blog"))
    assert stage.embedded.running == {}
    stage.start("redis")
    assert stage.embedded.volumes == volumes


def test_fresh_ones_stand_beside_the_data_and_vanish(stage: Stage) -> None:
    stage.start("redis")
    asyncio.run(stage.addons.stop("blog"))
    kept = set(stage.embedded.volumes)
    stage.start("redis", fresh=True)
    assert len(stage.embedded.volumes - kept) == 1
    asyncio.run(stage.addons.stop("blog"))
    assert stage.embedded.volumes == kept


def test_when_one_does_not_start_the_others_are_stopped_again(stage: Stage) -> None:
    stage.embedded.failing = ("heroku-redis",)
    with pytest.raises(ServerFailed, match="told so"):
        stage.start("redis", "psycopg2", "elasticsearch")
    assert stage.embedded.running == {}
    assert stage.addons.running("blog") == ()
    assert (stage.embedded.volumes, stage.addons.records("blog")) == (set(), ())


def test_when_one_does_not_start_the_data_of_earlier_starts_is_kept(stage: Stage) -> None:
    stage.start("redis")
    asyncio.run(stage.addons.stop("blog"))
    stage.embedded.failing = ("heroku-redis",)
    with pytest.raises(ServerFailed):
        stage.start("redis")
    assert len(stage.embedded.volumes) == len(stage.addons.records("blog")) == 1


def test_each_step_is_reported_with_what_the_server_is_not(stage: Stage) -> None:
    steps: list[AddonProgress] = []
    wanted = stage.addons.wanted("blog", (), ["redis"])
    asyncio.run(stage.addons.ensure("blog", wanted.requests, EMBEDDED, report=steps.append))
    assert [(step.phase, step.is_ready, step.parity) for step in steps] == [
        ("starting", False, None),
        ("ready", True, "not real"),
    ]
    assert {step.config_vars for step in steps} == {("REDIS_URL",)}


def test_a_server_that_cannot_be_stopped_is_told_and_keeps_nobody_waiting(stage: Stage) -> None:
    stage.start("redis", "psycopg2")
    stage.embedded.stuck = ("heroku-redis",)
    (text,) = asyncio.run(stage.addons.stop("blog"))
    assert "could not be stopped; the next `herolocal up` removes it. The engine has stopped answering." in text
    assert {request.template.name for request in stage.embedded.running.values()} == {"heroku-redis"}


def test_forgotten_data_is_gone_unless_its_engine_does_not_answer(stage: Stage) -> None:
    stage.start("redis")
    asyncio.run(stage.addons.forget("blog", EMBEDDED))
    assert (stage.embedded.volumes, stage.addons.records("blog")) == (set(), ())


def test_what_an_engine_that_is_away_may_hold_does_not_stop_a_start(stage: Stage) -> None:
    stage.embedded.left = 2
    stage.docker.version = None
    assert asyncio.run(stage.addons.reap()) == 2
    assert asyncio.run(stage.addons.reap(DOCKER)) == 0
