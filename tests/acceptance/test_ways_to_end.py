"""However an app ends, nothing of it survives: twelve ways, in both modes, as root and as an ordinary user."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

from tests.acceptance.conftest import MODES, PEOPLE, make_place
from tests.acceptance.driver import PATIENCE, Person, Place, Up, listens

SERVER = """\
import http.server, os, signal, subprocess, sys
trouble = sys.argv[1]
if trouble == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if trouble == "setsid":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
if trouble == "pipe":
    subprocess.Popen(["bash", "-c", "trap '' TERM HUP INT; sleep 600 & wait; sleep 600"], start_new_session=True)
if trouble == "daemon":
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.closerange(0, 3)
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
address = ("0.0.0.0", int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
WORKER = "import time\nopen('notes.txt', 'w').write('x')\nwhile True: time.sleep(3600)\n"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to end. `trouble` is what the web process does; `code` the exit code of `up`, None when it was killed."""

    name: str
    end: Callable[[Up], int]
    code: int
    trouble: str = "none"
    terminal: bool = False


def ctrl_c(up: Up) -> int:
    return up.interrupt()


def ctrl_c_twice(up: Up) -> int:
    up.signal(signal.SIGINT)
    up.wait_for("Ctrl-C again")
    up.signal(signal.SIGINT)
    return up.end()


def terminate(up: Up) -> int:
    up.signal(signal.SIGTERM)
    return up.end()


def close_terminal(up: Up) -> int:
    assert up.terminal is not None
    pid = up.command_pid()
    process = psutil.Process(pid)
    os.close(up.terminal)
    up.terminal = None
    process.wait(PATIENCE)
    return up.process.wait(PATIENCE)


def kill_up(up: Up) -> int:
    up.signal(signal.SIGKILL)
    return up.end()


def kill_platform(up: Up) -> int:
    _kill(up.place, "herolocal.interfaces.serve", not_in="keeper")
    return up.end()


def kill_keeper(up: Up) -> int:
    _kill(up.place, "keeper.py")
    return up.end()


def down(up: Up) -> int:
    up.place.run("down")
    return up.end()


def _kill(place: Place, word: str, not_in: str = "\n") -> None:
    """SIGKILL to the one process of this place with `word` among its arguments."""
    for process in place.processes():
        arguments = " ".join(process.cmdline())
        if word in arguments and not_in not in arguments and "setpriv" not in arguments:
            process.kill()
            return
    raise AssertionError(f"no process {word} among {[item.cmdline() for item in place.processes()]}")


WAYS = (
    Way("ctrl-c", ctrl_c, 130),
    Way("second ctrl-c, child ignores SIGTERM", ctrl_c_twice, 130, "deaf"),
    Way("sigterm", terminate, 143),
    Way("terminal closed", close_terminal, 129, terminal=True),
    Way("kill -9 of up", kill_up, -9),
    Way("kill -9 of the platform", kill_platform, 1),
    Way("kill -9 of the keeper", kill_keeper, 1),
    Way("down from another shell", down, 0),
    Way("setsid grandchild", ctrl_c, 130, "setsid"),
    Way("grandchild holds the pipe", ctrl_c, 130, "pipe"),
    Way("daemon, kill -9 of the platform", kill_platform, 1, "daemon"),
    Way("daemon, kill -9 of up", kill_up, -9, "daemon"),
)


@contextmanager
def running(way: Way, place: Place, mode: str) -> Iterator[Up]:
    place.write(
        {
            "Procfile": f"web: python3 server.py {way.trouble}\nworker: python3 worker.py\n",
            "server.py": SERVER,
            "worker.py": WORKER,
        }
    )
    start = place.up_on_a_terminal if way.terminal else place.up
    with start("--addons", "none", "--no-build", "--isolation", mode) as up:
        up.ready()
        yield up


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_nothing_survives(way: Way, mode: str, person: Person, survivors: "Table") -> None:
    with make_place(person) as place:
        with running(way, place, mode) as up:
            port = int(up.url.rpartition(":")[2])
            code = way.end(up)
            place.wait_until_gone()
            row = (len(place.processes()), int(listens(port, place)), len(place.mounts()))
        place.run("lost")  # the next start of a platform clears what a kill left on the disk
        place.wait_until_gone()
        left = (*row, len(place.scratch()))
        survivors.add((way.name, mode, place.person.name, *left))
        assert left == (0, 0, 0, 0)
        assert code == way.code, up.output


class Table:
    """The survivors of every way, printed at the end of the run."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []

    def add(self, row: tuple[object, ...]) -> None:
        self.rows.append(row)

    def text(self) -> str:
        head = ("way to end", "mode", "user", "processes", "ports", "mounts", "scratch")
        return "\n".join(
            "  ".join(f"{value!s:<40}" if n == 0 else f"{value!s:<10}" for n, value in enumerate(row))
            for row in (head, *self.rows)
        )


@pytest.fixture(scope="module")
def survivors(request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table()
    yield table
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        sys.stdout.write(f"\n{table.text()}\n")
