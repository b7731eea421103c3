"""The lesson: what a dyno writes is gone at its restart, is named, can be read once more, and no other dyno saw it."""

import json
import sqlite3

import pytest

from tests.acceptance.conftest import MODES, PEOPLE, make_place
from tests.acceptance.driver import Person, Place, get

PLAIN = ("--addons", "none", "--no-build")
SERVER = """\
import http.server, os, pathlib, sqlite3, sys, urllib.parse

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        action, _, name = self.path.strip("/").partition("/")
        path = pathlib.Path(name or "x")
        if action == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(os.environ["DYNO"])
        elif action == "db":
            with sqlite3.connect(path) as connection:
                connection.execute("create table t (a)")
        text = os.environ["DYNO"] + " " + str(path.exists())
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {"Procfile": "web: python3 server.py\n", "server.py": SERVER, "kept.txt": "from the slug"}
FIELDS = {
    "app",
    "dyno",
    "dyno_id",
    "release",
    "path",
    "bytes",
    "change",
    "kind",
    "advice",
    "reason",
    "wiped_at",
    "kept",
    "real",
}


@pytest.fixture(
    params=[pytest.param(mode, marks=pytest.mark.namespace if mode == "namespace" else ()) for mode in MODES]
)
def mode(request: pytest.FixtureRequest) -> str:
    """Both ways of isolation."""
    return str(request.param)


def test_lost_files_are_listed_with_kind_and_advice_and_can_be_read_once_more(mode: str, place: Place) -> None:
    place.write(FILES)
    with place.up(*PLAIN, "--isolation", mode) as up:
        url = up.ready().url
        for request in (
            "db/app.db",
            "write/uploads/cat.png",
            "write/app.log",
            "write/kept.txt",
            "write/__pycache__/x.pyc",
        ):
            assert get(f"{url}/{request}")[0] == 200
        place.run("restart", "web.1")
        said = up.wait_for(
            r"(?s)web\.1 wrote, changed or removed 4 files that are gone now:.*?and \d+ that cost"
        ).group()
        for path in ("app.db", "uploads/cat.png", "app.log", "kept.txt"):
            assert path in said
        assert "__pycache__" not in said
        lost = {item["path"]: item for item in json.loads(place.run("lost", "--json").stdout)}
        assert set(lost["app.db"]) == FIELDS
        kinds = {path: (lost[path]["kind"], lost[path]["change"]) for path in ("app.db", "app.log", "kept.txt")}
        assert kinds == {
            "app.db": ("SQLite database", "created"),
            "app.log": ("log", "created"),
            "kept.txt": ("other", "modified"),
        }
        assert place.run_bytes("lost", "show", "web.1", "kept.txt") == b"web.1"
        assert place.run_bytes("lost", "show", "web.1", "app.db").startswith(b"SQLite format 3\0")
        place.wait_for_dyno("web.1", "up")
        assert get(f"{url}/look/app.db")[1] == "web.1 False"
        assert get(f"{url}/look/kept.txt")[1] == "web.1 True"
        up.interrupt()
    database = place.root / "rescued.db"
    database.write_bytes(place.run_bytes("lost", "show", "web.1", "app.db"))
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (0,)
    connection.close()


def test_a_file_of_one_web_dyno_is_not_there_for_the_other_and_a_line_says_so(mode: str, place: Place) -> None:
    place.write(FILES)
    with place.up(*PLAIN, "--isolation", mode, "--formation", "web=2") as up:
        url = up.ready().url
        place.wait_for_dyno("web.2", "up")
        writer = get(f"{url}/write/shared.txt")[1].split()[0]
        other = "web.2" if writer == "web.1" else "web.1"
        seen: dict[str, str] = {}
        while len(seen) < 2:
            dyno, there = get(f"{url}/look/shared.txt")[1].split()
            seen[dyno] = there
        assert seen == {writer: "True", other: "False"}
        up.wait_for(rf"{writer} wrote .*shared\.txt.*{other}")
        up.interrupt()


def test_copy_mode_tells_what_it_cannot_hide(place: Place) -> None:
    place.write(FILES)
    outside = place.root / "outside.txt"
    with place.up(*PLAIN, "--isolation", "copy") as up:
        url = up.ready().url
        text = " ".join(up.output.split())
        assert "not isolated: /app is a scratch directory, /tmp, processes and your files are shared" in text
        get(f"{url}/write/{outside}")
        get(f"{url}/write/inside.txt")
        place.run("restart")
        up.wait_for(r"inside\.txt")
        up.wait_for(r"what it wrote elsewhere \(/tmp by name, your home\) is neither listed\s+nor removed")
        assert outside.exists()
        up.interrupt()


@pytest.mark.namespace
def test_in_a_namespace_a_file_outside_is_neither_written_nor_seen(place: Place) -> None:
    place.write(FILES)
    with place.up(*PLAIN, "--isolation", "namespace") as up:
        url = up.ready().url
        assert get(f"{url}/look/{place.project}/server.py")[1] == "web.1 False"
        get(f"{url}/write/tmp/only-here")
        up.interrupt()
    assert not (place.project / "tmp").exists()


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
def test_names_that_are_no_text_and_closed_files_are_listed_too(person: Person, mode: str) -> None:
    command = (
        r"worker: echo x > $'bad\xffname'; echo s > closed; mkdir shut; echo y > shut/z; chmod 0 closed shut; sleep 900"
    )
    with make_place(person) as place:
        place.write({"Procfile": f"{command}\n"})
        with place.up(*PLAIN, "--isolation", mode) as up:
            up.wait_for(r"worker\.1 .* up in")
            place.wait_until(lambda: any(place.home.glob("scratch/*/*/shut")), "the last file")
            up.interrupt()
            assert "R99" not in up.output
        lost = {loss["path"]: loss["bytes"] for loss in json.loads(place.run("lost", "--json").stdout)}
        assert lost == {"bad\\xffname": 2, "closed": 2, "shut/z": 2}
        assert place.run_bytes("lost", "show", "worker.1", "bad\\xffname") == b"x\n"
        place.wait_until_gone()
        assert place.scratch() == []
