"""A start that is broken off in the middle leaves nothing: no process, no container, nothing half made."""

import fcntl
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.acceptance.conftest import make_place
from tests.acceptance.driver import Place, Up, me

WEB = "web: exec python3 -m http.server $PORT --bind 0.0.0.0\n"
SLOW_BACKEND = "import time\ntime.sleep(600)\n"
SLOW = {  # a package whose build does not end, made without any download
    "Procfile": WEB,
    "requirements.txt": "./slow\n",
    "slow/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "slow/backend.py": SLOW_BACKEND,
}
SERVERS = {"Procfile": WEB, "app.json": '{"addons": ["heroku-postgresql", "heroku-redis", "searchbox"]}'}


@dataclass(frozen=True, slots=True)
class Moment:
    """What runs when the start is broken off, and how one sees that it has come so far."""

    files: dict[str, str]
    options: tuple[str, ...]
    has_come: Callable[[Place], bool]


def runs(word: str) -> Callable[[Place], bool]:
    """Whether a process of the place has this word among its arguments."""
    return lambda place: any(word in " ".join(process.cmdline()) for process in place.processes())


def containers(place: Place, *, volumes: bool = False) -> list[str]:
    """Containers, or volumes, of this home."""
    if not (place.home / "id").exists():
        return []
    label = f"label=dev.herolocal.home={(place.home / 'id').read_text().strip()}"
    what = ("volume", "ls", "-q") if volumes else ("ps", "-aq")
    return subprocess.run(
        ["docker", *what, "--filter", label], capture_output=True, text=True, check=True
    ).stdout.split()


MOMENTS = {
    "pip builds": Moment(SLOW, ("--addons", "none"), runs("pip install")),
    "a release phase runs": Moment(
        {"Procfile": f"{WEB}release: sleep 543\n"}, ("--addons", "none", "--no-build"), runs("sleep 543")
    ),
    "servers are set up": Moment(SERVERS, ("--addons", "embedded", "--no-build"), runs("postgres")),
    "containers start": Moment(SERVERS, ("--addons", "docker", "--no-build"), lambda place: bool(containers(place))),
}


def kill_platform(up: Up) -> None:
    next(item for item in up.place.processes() if "herolocal.interfaces.serve" in item.cmdline()).kill()


WAYS: dict[str, tuple[Callable[[Up], object], int]] = {
    "ctrl-c": (lambda up: up.signal(signal.SIGINT), 130),
    "kill -9": (lambda up: up.signal(signal.SIGKILL), -9),
    "kill -9 of the platform": (kill_platform, 1),
}


@pytest.fixture
def place() -> Iterator[Place]:
    with make_place(me()) as made:
        made.pass_images = True
        yield made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.docker if "containers" in name else ()) for name in MOMENTS]
)
def test_a_start_broken_off_leaves_nothing(moment: str, way: str, place: Place) -> None:
    at, (end, code) = MOMENTS[moment], WAYS[way]
    place.write(at.files)
    with place.up(*at.options, "--isolation", "copy") as up:
        place.wait_until(lambda: at.has_come(place), moment)
        end(up)
        assert up.end() == code, up.output
        place.wait_until_gone()
    place.run("lost", check=False)  # the next start of a platform clears what a kill left
    place.wait_until_gone()
    assert place.scratch() == []
    assert [path for path in (place.home / "layers").glob("*") if path.suffix != ".lock"] == []
    if "containers" in moment:
        assert containers(place) == []
        place.run("down", "--volumes")
        assert containers(place, volumes=True) == []
        place.wait_until_gone()


EARLY: dict[str, Callable[[Place], bool]] = {
    "the keeper starts": runs("keeper.py"),
    "the platform opens its state": lambda place: (place.home / "state.db").exists(),
    "the API listens": lambda place: (place.home / "platform.json").exists(),
    "a dyno starts": runs("dyno_init.py"),
}


@pytest.mark.parametrize("way", ["ctrl-c", "kill -9"])
@pytest.mark.parametrize("moment", EARLY)
def test_an_end_in_the_first_moments_leaves_nothing(moment: str, way: str, place: Place) -> None:
    end, code = WAYS[way]
    place.write({"Procfile": "web: exec sleep 1000\n"})
    with place.up("--addons", "none", "--no-build", "--isolation", "copy") as up:
        place.wait_until(lambda: EARLY[moment](place), moment)
        end(up)
        assert up.end() == code, up.output
        place.wait_until_gone()
        assert "Traceback" not in up.output


def test_a_platform_that_cannot_start_keeps_nobody_waiting_for_ever(place: Place) -> None:
    """Another process holds the home; a second `up` waits for the first, and a signal ends both."""
    place.write({"Procfile": WEB})
    place.home.mkdir(mode=0o700)
    with (place.home / "platform.alone").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with place.up("--addons", "none") as first, place.up("--addons", "none") as second:
            place.wait_until(lambda: runs("herolocal.interfaces.serve")(place), "the platform")
            for up in (second, first):
                up.signal(signal.SIGTERM)
                assert up.end() == 143, up.output
            place.wait_until_gone()


@pytest.mark.docker
def test_after_a_killed_platform_the_next_start_removes_its_containers_and_keeps_the_data(place: Place) -> None:
    place.write({"Procfile": WEB, "app.json": '{"addons": ["heroku-redis"]}'})
    options = ("--addons", "docker", "--no-build", "--isolation", "copy")
    with place.up(*options) as up:
        up.ready()
        (before,) = containers(place)
        kill_platform(up)
        assert up.end() == 1
        assert "The platform ended unexpectedly" in " ".join(up.output.split())
        place.wait_until_gone()
    with place.up(*options) as up:
        up.ready()
        (after,) = containers(place)
        assert after != before
        assert up.interrupt() == 130
    assert containers(place) == []
    assert len(containers(place, volumes=True)) == 1
    place.run("down", "--volumes")
    assert containers(place, volumes=True) == []
    place.wait_until_gone()
