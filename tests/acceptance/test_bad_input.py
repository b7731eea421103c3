"""Bad input gets one clear message and an exit code, never a traceback; nothing is left half done."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import make_place, ordinary
from tests.acceptance.driver import Place, get, me

SERVER = """\
import http.server, os
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ["PORT"]), bind="0.0.0.0")
"""
WEB = "web: python3 server.py\n"
PLAIN = ("--addons", "none", "--no-build", "--isolation", "copy")

CASES = {
    "no Procfile": ({"Procfile": None}, (), 2, "There is no Procfile in"),
    "misspelled Procfile": ({"Procfile": None, "procfile": WEB}, (), 2, "Found `procfile`"),
    "heroku.yml only": ({"Procfile": None, "heroku.yml": ""}, (), 2, "Found heroku.yml"),
    "Dockerfile only": ({"Procfile": None, "Dockerfile": ""}, (), 2, "Found a Dockerfile"),
    "Procfile below": ({"Procfile": None, "api/Procfile": WEB}, (), 2, "but one in api/"),
    "Procfile of another name": ({}, ("-f", "Other"), 2, "There is no file Other"),
    "empty Procfile": ({"Procfile": "\n"}, (), 2, "Procfile is empty"),
    "empty process type": ({"Procfile": ": x\n"}, (), 2, "Procfile:1: cannot read"),
    "process type twice": ({"Procfile": WEB + WEB}, (), 2, "Procfile:2: the process type `web` is there already"),
    "unknown type": ({}, ("wep",), 2, "Couldn't find the process type `wep`. The Procfile has: web"),
    "env file missing": ({}, ("-e", "nope.env"), 2, "There is no file nope.env"),
    "env line broken": ({".env": "A=1\nB='open\n"}, (), 2, ".env:2: cannot read the line that begins with `B`"),
    "env port": ({".env": "PORT=web\n"}, (), 2, ".env:1: PORT must be a port number"),
    "app.json no JSON": ({"app.json": "{"}, (), 2, "app.json:1:2: not JSON"),
    "app.json wrong type": ({"app.json": '{"env": []}'}, (), 2, "app.json: env must be an object"),
    "slugignore": ({".slugignore": "\\\n"}, (), 2, ".slugignore:1: cannot read the pattern"),
    "app.json name": ({"app.json": '{"env": {"A=B": "1"}}'}, (), 2, "env.A=B: The config var name"),
    "odd pyproject": ({"pyproject.toml": "[project]\ndependencies = 5\n", "app.json": "{"}, (), 2, "app.json:1:2"),
    "formation": ({}, ("--formation", "web"), 2, "Cannot read the formation `web`"),
    "formation of an unknown type": ({}, ("--formation", "wep=1"), 2, "Couldn't find the process type `wep`"),
    "size": ({}, ("--formation", "web=1:huge"), 2, "No such dyno size as `huge`"),
}  # fmt: skip


@pytest.fixture
def person() -> Iterator[Place]:
    """A place of somebody who is not root, to whom a directory can be closed."""
    with make_place(ordinary()) as made:
        yield made
        for directory in (made.project, made.root / "closed"):
            if directory.exists():
                directory.chmod(0o755)


def lock(directory: Path) -> None:
    """Nobody but root may write in it any more."""
    directory.chmod(0o555)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_message_says_what_is_wrong(
    case: tuple[dict[str, str | None], tuple[str, ...], int, str], place: Place
) -> None:
    files, options, code, message = case
    place.write({"Procfile": WEB, "server.py": SERVER} | {name: text or "" for name, text in files.items()})
    for name, text in files.items():
        if text is None:
            (place.project / name).unlink()
    result = place.run("up", *PLAIN, *options, check=False)
    output = " ".join((result.stdout + result.stderr).split())
    assert (result.returncode, message in output, "Traceback" in output) == (code, True, False), output
    place.wait_until_gone()
    assert place.scratch() == []


@pytest.mark.parametrize(
    ("addon", "message"),
    [("nosuch", "Couldn't find the add-on service `nosuch`"), ("heroku-redis:huge", "heroku-redis has no plan `huge`")],
)
def test_an_unknown_add_on_or_plan_is_named_with_what_there_is(addon: str, message: str, place: Place) -> None:
    place.write({"Procfile": WEB, "app.json": f'{{"addons": ["{addon}"]}}'})
    result = place.run("up", "--no-build", "--addons", "embedded", check=False)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(("command", "closed"), [("run true", "<&-"), ("ps", ">&-"), ("ps", "2>&-")])
def test_closed_standard_streams_are_no_fault(command: str, closed: str, place: Place) -> None:
    place.write({"Procfile": WEB})
    shell = ["bash", "-c", f"{shlex.join(place.command(*command.split()))} {closed}"]
    result = subprocess.run(shell, cwd=place.project, env=place.env(), capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr
    assert result.returncode in (0, 1)
    place.wait_until_gone()


def test_what_env_says_wins_over_a_secret_that_app_json_would_make(place: Place) -> None:
    files = {
        "Procfile": 'worker: echo "<$SECRET_KEY>"; exec sleep 1000\n',
        "app.json": '{"env": {"SECRET_KEY": {"generator": "secret"}}}',
    }
    place.write(files)
    with place.up(*PLAIN) as up:
        made = up.wait_for(r"<(\w{64})>")[1]
        up.interrupt()
    with place.up(*PLAIN) as up:
        assert up.wait_for(r"<(\w+)>")[1] == made
        up.interrupt()
    place.write({**files, ".env": "SECRET_KEY=mine\n"})
    with place.up(*PLAIN) as up:
        assert up.wait_for(r"<(\w+)>")[1] == "mine"
        up.interrupt()


def test_good_env_lines_that_other_runners_break_on(place: Place) -> None:
    env = 'export E=1\nU=redis://:pa#ss@h:1\nT="two\nlines"\nR=${E}x\nH=${HOME}\n'
    place.write({"Procfile": "web: python3 show.py && python3 server.py\n", "server.py": SERVER, ".env": env})
    (place.project / "show.py").write_text("import os\nprint([os.environ[name] for name in 'EUTRH'], flush=True)\n")
    with place.up(*PLAIN) as up:
        up.wait_for(r"\['1', 'redis://:pa#ss@h:1', 'two\\nlines', '1x', ''\]")
        assert up.interrupt() == 130


def test_a_port_asked_for_fails_when_taken_and_the_default_moves_on(place: Place) -> None:
    place.write({"Procfile": WEB, "server.py": SERVER})
    with make_place(me()) as other:
        other.write({"Procfile": WEB, "server.py": SERVER})
        with other.up(*PLAIN) as first:
            port = first.ready().url.rpartition(":")[2]
            result = place.run("up", *PLAIN, "-p", port, check=False)
            assert result.returncode == 1
            assert f"Port {port} is taken by" in " ".join(result.stderr.split())
            with place.up(*PLAIN) as second:
                assert second.ready().url != first.url
                assert get(f"{second.url}/")[0] == 200
                assert second.interrupt() == 130
            assert first.interrupt() == 130


def test_a_second_up_in_the_same_directory_is_told_what_runs(place: Place) -> None:
    place.write({"Procfile": WEB, "server.py": SERVER})
    with place.up(*PLAIN) as up:
        up.ready()
        result = place.run("up", *PLAIN, check=False)
        assert (result.returncode, "project is already up here" in result.stderr) == (1, True)
        assert get(f"{up.url}/")[0] == 200
        assert up.interrupt() == 130


def test_a_failed_release_phase_starts_nothing(place: Place) -> None:
    place.write({"Procfile": WEB + "release: echo migrating; exit 3\n", "server.py": SERVER})
    with place.up(*PLAIN) as up:
        assert up.end() == 1
        assert "migrating" in up.output
        assert "ended with status 3" in " ".join(up.output.split())
        assert "heroku[web.1]" not in up.output


def test_a_crash_touches_no_other_dyno_and_is_restarted_at_once(place: Place) -> None:
    place.write({"Procfile": WEB + "worker: echo working; exit 1\n", "server.py": SERVER})
    with place.up(*PLAIN) as up:
        up.wait_for(r"worker.1.*crashed 2 times in a row, next start in 10 s")
        assert get(f"{up.url}/")[0] == 200
        assert up.interrupt() == 130


def test_a_home_that_cannot_be_written_is_named(person: Place) -> None:
    person.write({"Procfile": WEB})
    person.root.chmod(0o755)
    closed = person.root / "closed"
    closed.mkdir()
    lock(closed)
    person.environment = {"HEROLOCAL_HOME": str(closed / "home")}
    result = person.run("up", *PLAIN, check=False)
    assert (result.returncode, "Set HEROLOCAL_HOME" in " ".join(result.stderr.split())) == (1, True), result.stderr


def test_an_app_in_a_read_only_directory_runs_and_the_example_cannot_be_written_there(person: Place) -> None:
    person.write({"Procfile": WEB, "server.py": SERVER})
    lock(person.project)
    with person.up(*PLAIN) as up:
        assert get(up.ready().url)[0] == 200
        assert up.interrupt() == 130
    result = person.run("demo", "blog", check=False)
    text = " ".join(result.stderr.split())
    assert (result.returncode, "Cannot write the example into" in text, "Permission denied" in text) == (2, True, True)


def test_a_file_that_cannot_be_read_is_named(person: Place) -> None:
    person.write({"Procfile": WEB, "secret.txt": "x"})
    (person.project / "secret.txt").chmod(0)
    result = person.run("up", *PLAIN, check=False)
    text = " ".join(result.stderr.split())
    assert (
        result.returncode,
        "secret.txt: Permission denied. Make it readable, or list it in .slugignore" in text,
    ) == (1, True), text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_told_and_nothing_stays(place: Place) -> None:
    place.write({"Procfile": WEB, "server.py": SERVER, "big.bin": ""})
    (place.project / "big.bin").write_bytes(os.urandom(3_000_000))
    place.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place.home)], check=True)
    try:
        result = place.run("up", *PLAIN, check=False)
        assert (result.returncode, "No space left" in result.stderr, "Traceback" in result.stderr) == (1, True, False)
        place.wait_until_gone()
        assert list(Path(place.home / "slugs").glob("*/tree")) == []
    finally:
        subprocess.run(["umount", "--lazy", str(place.home)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount an overlay")
def test_namespaces_that_are_refused_are_told_and_auto_takes_a_copy(place: Place) -> None:
    place.write({"Procfile": WEB, "server.py": SERVER})
    for name in ("home", "lower", "upper", "work"):
        (place.root / name).mkdir()
    options = ",".join(f"{name}dir={place.root}/{name}" for name in ("lower", "upper", "work"))
    # No dyno's overlay can lie on another overlay: so it is in most containers.
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place.home)], check=True)
    try:
        result = place.run("up", *PLAIN[:-1], "namespace", check=False)
        text = " ".join(result.stderr.split())
        refused = "this machine refuses it: mount overlay: Invalid argument. Use --isolation copy."
        assert (result.returncode, refused in text, "Traceback" in text) == (1, True, False), text
        place.wait_until_gone()
        with place.up(*PLAIN[:-1], "auto") as up:
            up.ready()
            text = " ".join(up.output.split())
            assert "run in copies of the slug as root (no namespaces here: mount overlay: Invalid argument)" in text
            assert up.interrupt() == 130
    finally:
        subprocess.run(["umount", "--lazy", str(place.home)], check=True)


def test_an_engine_that_does_not_answer_is_told(place: Place) -> None:
    place.write({"Procfile": WEB, "app.json": '{"addons": ["heroku-redis"]}'})
    place.environment = {"DOCKER_HOST": "tcp://127.0.0.1:9"}
    result = place.run("up", "--no-build", "--addons", "docker", check=False)
    assert (result.returncode, "no container engine answers" in " ".join(result.stderr.split())) == (1, True)


@pytest.mark.docker
def test_an_image_that_cannot_be_had_is_told(place: Place) -> None:
    place.write({"Procfile": WEB, "app.json": '{"addons": ["heroku-redis"]}'})
    place.environment = {"HEROLOCAL_IMAGE_REDIS": "localhost:9/nosuch/redis:7"}
    result = place.run("up", "--no-build", "--addons", "docker", check=False)
    text = " ".join(result.stderr.split())
    assert (result.returncode, "cannot pull image localhost:9/nosuch/redis:7" in text.lower()) == (1, True), text
    assert "HEROLOCAL_IMAGE_REDIS" in text
    assert "--addons embedded" in text
    with place.up("--no-build", "--addons", "embedded") as up:  # what the message says works
        up.wait_for(r"heroku-redis:mini .* ready in")
        assert up.interrupt() == 130


@pytest.mark.slow
def test_a_slug_over_the_limit_is_refused(place: Place) -> None:
    place.write({"Procfile": WEB})
    with (place.project / "big.bin").open("wb") as file:
        for _ in range(530):
            file.write(os.urandom(1024 * 1024))
    result = place.run("up", *PLAIN, check=False, seconds=300)
    assert (result.returncode, "is too large (max is 500M)" in " ".join(result.stderr.split())) == (1, True)
