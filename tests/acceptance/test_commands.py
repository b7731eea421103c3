"""The commands a person types beside `up`, from another terminal."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.conftest import make_place
from tests.acceptance.driver import PATIENCE, Place, get, me

SERVER = """\
import http.server, os
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["DYNO"].encode())
    def log_message(self, *_):
        pass
print("serving", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {
    "Procfile": "web: python3 server.py\nworker: echo working; exec sleep 1000\ntask: echo task\n",
    "server.py": SERVER,
}
PLAIN = ("--addons", "none", "--no-build", "--isolation", "copy")


@pytest.fixture(scope="module")
def app() -> Iterator[Place]:
    """One app for all of this file, in the background: web and worker."""
    with make_place(me()) as place:
        place.write(FILES)
        place.run("up", "-d", "--wait", *PLAIN, "web", "worker")
        yield place
        place.run("down")
        place.wait_until_gone()


def names(place: Place) -> list[str]:
    return [dyno["name"] for dyno in json.loads(place.run("ps", "--json").stdout)]


# run ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        pytest.param(("echo $DYNO; exit 7",), 7, r"run\.\d{4}\n", id="a text is a shell's"),
        pytest.param(("printf", "<%s>", "a b", "$HOME"), 0, r"<a b><\$HOME>", id="words arrive as typed"),
        pytest.param(("kill -9 $$",), 137, "", id="128 + signal"),
        pytest.param(("nosuchcommand",), 127, ".*command not found\n", id="not found"),
        pytest.param(("-e", "EXTRA=x y", "--", "echo $EXTRA"), 0, "x y\n", id="a variable for this dyno"),
        pytest.param(("-s", "standard-2x", "echo $WEB_CONCURRENCY"), 0, "4\n", id="size"),
        pytest.param(("test -t 0 || echo no terminal",), 0, "no terminal\n", id="no terminal without one"),
    ],
)
def test_run_passes_output_and_exit_code_on(app: Place, command: tuple[str, ...], code: int, output: str) -> None:
    result = app.run("run", *command, check=False)
    assert result.returncode == code
    assert re.fullmatch(output, result.stdout), result


def test_run_of_a_process_type_runs_its_command_with_what_follows(app: Place) -> None:
    assert app.run("run", "task", "42", "x").stdout == "task 42 x\n"


def test_run_reads_standard_input_to_its_end(app: Place) -> None:
    text = "x" * 300_000
    assert app.run("run", "wc -c", text=text).stdout.strip() == "300000"


def test_a_one_off_dyno_has_a_filesystem_of_its_own_and_is_in_no_log(app: Place) -> None:
    app.run("run", "echo secret-output; echo x > from-run.txt; ls from-run.txt")
    assert app.run("run", "ls from-run.txt", check=False).returncode != 0
    log = app.run("logs", "-n", "1500").stdout
    assert "secret-output; echo x" in log  # the command is in the log, its output is not
    assert not re.search(r"app\[run\.\d+\]: secret-output", log)


@dataclass(slots=True)
class OnTerminal:
    """A command on a terminal of its own."""

    process: subprocess.Popen[bytes]
    terminal: int
    seen: str = ""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            try:
                data = os.read(self.terminal, 65536)
            except OSError:
                data = b""
            assert data, f"ended without {pattern!r}: {self.seen!r}"
            self.seen += data.decode("utf-8", "replace")
        return match


@contextlib.contextmanager
def started(place: Place, *arguments: str) -> Iterator[OnTerminal]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *place.command(*arguments)], cwd=place.project,
        env={**place.env(), "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    try:
        yield OnTerminal(process, master)
    finally:
        os.close(master)
        process.wait(PATIENCE)


CATCHER = """\
import sys, time
try:
    print("sleeping", flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    print("caught", flush=True)
    sys.exit(3)
"""


def test_on_a_terminal_run_is_one_and_ctrl_c_belongs_to_the_program_in_it(app: Place) -> None:
    with started(app, "run", "python3", "-c", CATCHER) as terminal:
        terminal.wait_for("sleeping")
        terminal.type("\x03")
        terminal.wait_for("caught")
        assert terminal.process.wait(PATIENCE) == 3
    with started(app, "run", "test -t 0 && test -t 1 && read word; echo $word $TERM $(stty size)") as terminal:
        terminal.type("ahead\n")
        terminal.wait_for("ahead xterm 24 80")


def test_the_dynos_terminal_follows_the_window(app: Place) -> None:
    command = "echo ready; until [ \"$(stty size)\" = '41 123' ]; do :; done; echo resized"
    with started(app, "run", command) as terminal:
        terminal.wait_for("ready\r\n")
        fcntl.ioctl(terminal.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 123, 0, 0))
        terminal.wait_for("resized\r\n")


@pytest.mark.parametrize("rest", ["sleep 1000", "yes", "read line; sleep 1000"], ids=["silent", "chatty", "fed"])
def test_a_client_that_is_killed_ends_its_dyno(app: Place, rest: str) -> None:
    """Whether it reads no more, or has sent more than the dyno takes."""
    read, write = os.pipe()
    with Path("/dev/zero").open("rb") as zeros:
        stdin = zeros if rest.startswith("read") else subprocess.DEVNULL
        command = app.command("run", f"echo here; {rest}")
        process = subprocess.Popen(command, cwd=app.project, env=app.env(), stdin=stdin, stdout=write)
    os.close(write)
    assert os.read(read, 5) == b"here\n"
    (one_off,) = (name for name in names(app) if name.startswith("run."))
    process.kill()
    process.wait(PATIENCE)
    app.wait_until(lambda: one_off not in names(app), "the end of the one-off dyno")
    assert f"heroku[{one_off}]: Client connection closed. Sending SIGHUP to all processes" in app.run("logs").stdout
    os.close(read)


def test_a_slow_reader_of_run_costs_no_memory_and_loses_nothing(app: Place) -> None:
    size = 200_000_000
    platform = next(item for item in app.processes() if "herolocal.interfaces.serve" in item.cmdline())
    before, written = platform.memory_info().rss, [-1]

    def has_stalled() -> bool:
        """The dyno's writer waits, or has written all of it."""
        heads = [item for item in app.processes() if item.name() == "head"]
        written.append(sum(item.io_counters().write_chars for item in heads))
        return written[-1] == written[-2] and (written[-1] > 0 or len(written) > 20)

    command = app.command("run", f"echo begin; head -c {size} /dev/zero; echo end")
    with subprocess.Popen(command, cwd=app.project, env=app.env(), stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"begin\n"
        app.wait_until(has_stalled, "a backlog")
        assert platform.memory_info().rss < before + 50_000_000
        count, last = 0, b""
        while data := process.stdout.read(1 << 20):
            count, last = count + len(data), (last + data)[-4:]
        assert (count, last) == (size + 4, b"end\n")


def test_run_before_the_first_release_is_told(place: Place) -> None:
    place.write({"Procfile": "release: echo migrating; sleep 1000\nweb: sleep 1000\n"})
    with place.up(*PLAIN) as up:
        up.wait_for("migrating")
        result = place.run("run", "true", check=False)
        assert (result.returncode, "Nothing was released yet" in result.stderr) == (1, True)
        assert up.interrupt() == 130


# ps, scale, restart, logs ---------------------------------------------------------------------------------------------


def test_ps_shows_dynos_as_heroku_does(app: Place) -> None:
    text = app.run("ps").stdout
    assert "=== web (Basic): python3 server.py (1)" in text
    assert re.search(r"web\.1: up \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \+0000 \(~ \d+\w ago\)", text)
    web = json.loads(app.run("ps", "--json").stdout)[0]
    assert (web["name"], web["state"], web["type"], web["size"]) == ("web.1", "up", "web", "Basic")


def test_scale_changes_the_formation_and_without_web_the_router_says_h14(app: Place) -> None:
    said = app.run("scale", "web=2:standard-2x", "worker=0").stdout
    assert said == "Scaling dynos... done, now running web at 2:Standard-2X, worker at 0:Basic\n"
    app.wait_for_dyno("web.2", "up")
    assert sorted(names(app)) == ["web.1", "web.2"]
    app.run("scale", "web=0")
    status, page = get(app.url)
    assert (status, "Application error" in page) == (503, True)
    assert 'at=error code=H14 desc="No web processes running" method=GET path="/"' in app.run("logs").stdout
    app.run("scale", "web=1:basic", "worker=1")
    app.wait_for_dyno("web.1", "up")
    assert get(app.url) == (200, "web.1")
    assert "web at 1:Basic" in app.run("scale").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scale", "web"), "Cannot read `web`. Write TYPE=QUANTITY"),
        (("scale", "wep=1"), "Couldn't find the process type `wep`"),
        (("scale", "web=101"), "Cannot run more than 100 dynos"),
        (("scale", "web=1:huge"), "No such dyno size as `huge`"),
        (("restart", "web.9"), "Couldn't find that dyno: web.9. Running: web.1"),
        (("run", "-e", "X", "true"), "Cannot read `X` as --env"),
        (("lost", "web.1"), "Write `herolocal lost`, or `herolocal lost show DYNO PATH`"),
        (("lost", "show", "web.1", "nope"), "No dyno web.1 of project lost a file nope"),
        (("ps", "--app", "nosuch"), "Couldn't find that app."),
        (("help", "nosuch"), "There is no page `nosuch`"),
        (("up", "--nosuch"), "See: herolocal up --help"),
        (("up", "nosuch"), "already up here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_said_in_one_message(app: Place, arguments: tuple[str, ...], message: str) -> None:
    result = app.run(*arguments, check=False)
    text = " ".join((result.stdout + result.stderr).split())
    assert message in text
    assert "Traceback" not in text
    assert result.returncode in (1, 2)
    assert names(app) == ["web.1", "worker.1"]


def test_a_restart_of_a_type_touches_no_other(app: Place) -> None:
    ids = {dyno["name"]: dyno["id"] for dyno in json.loads(app.run("ps", "--json").stdout)}
    app.run("restart", "worker")
    app.wait_for_dyno("worker.1", "up")
    after = {dyno["name"]: dyno["id"] for dyno in json.loads(app.run("ps", "--json").stdout)}
    assert after["web.1"] == ids["web.1"]
    assert after["worker.1"] != ids["worker.1"]


def test_logs_filter_by_dyno_type_and_source(app: Place) -> None:
    get(app.url)
    assert set(re.findall(r"(\w+\[[\w.]+\]):", app.run("logs", "-d", "web.1", "-s", "app").stdout)) == {"app[web.1]"}
    assert set(re.findall(r" (\w+)\[", app.run("logs", "-s", "heroku").stdout)) == {"heroku"}
    assert len(app.run("logs", "-n", "2").stdout.splitlines()) == 2
    assert app.run("logs", "-n", "0").stdout == ""


def test_logs_tail_goes_on_until_the_app_ends(place: Place) -> None:
    place.write(FILES)
    place.run("up", "-d", "--wait", *PLAIN, "web")
    with subprocess.Popen(
        place.command("logs", "--tail"), cwd=place.project, env=place.env(), stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        while "State changed from starting to up" not in (line := tail.stdout.readline()):
            assert line
        place.run("down")
        assert "Process exited with status 143" in tail.stdout.read()
        assert tail.wait(PATIENCE) == 0
    place.wait_until_gone()


# up -d, down ----------------------------------------------------------------------------------------------------------


def test_wait_gives_up_in_time_and_names_the_phase(place: Place) -> None:
    place.write({"Procfile": "web: exec sleep 1000\n"})
    result = place.run("up", "-d", "--wait", "--timeout", "2", *PLAIN, check=False)
    assert (result.returncode, "Not ready within 2 s: it was still in the phase `boot`" in result.stderr) == (1, True)
    place.wait_until_gone()


def test_down_in_a_directory_where_nothing_runs_says_so(place: Place) -> None:
    place.write(FILES)
    assert place.run("down").stdout == "Nothing is running.\n"
    result = place.run("ps", check=False)
    assert "No dynos are running" in result.stdout


def test_two_apps_of_one_home_do_not_disturb_each_other(place: Place) -> None:
    place.write(FILES)
    other = Place(place.person, place.root, mark=place.mark, environment={"HEROLOCAL_HOME": str(place.home)})
    with place.up(*PLAIN, "web") as first:
        first.ready()
        other.root = place.root / "other"
        (other.root / "project").mkdir(parents=True)
        other.write(FILES)
        other.run("up", "-d", "--wait", *PLAIN, "web")
        assert names(other) == ["web.1"]
        urls = {f"http://localhost:{app['port']}" for app in place.ask("/_herolocal/apps")}
        assert len(urls) == 2
        first.interrupt()
        assert {get(url)[0] for url in urls - {first.url}} == {200}
        other.run("down")
        place.wait_until_gone()


def test_options_choose_types_procfile_and_variables(place: Place) -> None:
    place.write(
        {
            "Procfile": "web: false\n",
            "Other": 'web: false\nshow: echo "$A $B $C"; exec sleep 1000\n',
            ".env": "A=ignored\n",
            "one.env": "A=1\nB=1\n",
            "two.env": "B=2\nC=${A}\n",
        }
    )
    with place.up(*PLAIN, "-f", "Other", "-e", "one.env", "-e", "two.env", "show") as up:
        up.wait_for(r"app\[show\.1\]: 1 2 1")
        assert "web.1" not in up.output
        assert up.interrupt() == 130


def test_demo_does_not_touch_a_directory_that_holds_something_else(place: Place) -> None:
    place.write(FILES)
    result = place.run("demo", ".", check=False)
    assert (result.returncode, "is not empty. Name another directory" in " ".join(result.stderr.split())) == (2, True)


def test_every_command_has_an_example(place: Place) -> None:
    place.write({})
    listed = re.findall(r"(?m)^  (\w+) ", place.run("--help").stdout.partition("Commands:")[2])
    assert len(listed) >= 10
    for command in listed:
        assert "Example:" in place.run(command, "--help").stdout


def test_signals_reach_the_app_by_name_of_the_command(place: Place) -> None:
    """SIGTERM to a detached start that still waits ends what it started."""
    place.write({"Procfile": "web: exec sleep 1000\n"})
    with place.up("-d", "--wait", *PLAIN) as up:
        up.wait_for("Starting process with command")
        up.signal(signal.SIGTERM)
        assert up.end() == 143
        place.wait_until_gone()
