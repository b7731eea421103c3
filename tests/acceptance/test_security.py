"""Nobody but this person's own programs may drive the platform or read its secrets."""

import http.client
import json
import os
import stat
from collections.abc import Iterator

import psutil
import pytest

from tests.acceptance.conftest import PEOPLE, make_place
from tests.acceptance.driver import Person, Place, me

FILES = {"Procfile": "web: exec python3 -m http.server $PORT --bind 0.0.0.0\n", ".env": "SECRET=hunter2-of-env\n"}


@pytest.fixture(scope="module")
def app() -> Iterator[Place]:
    with make_place(me()) as place:
        place.write(FILES | {"app.json": '{"addons": ["heroku-redis"]}'})
        place.run("up", "-d", "--wait", "--addons", "embedded", "--no-build", "--isolation", "copy")
        yield place
        place.run("down", "--volumes")
        place.wait_until_gone()


def ask(place: Place, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    about = place.about()
    connection = http.client.HTTPConnection("127.0.0.1", about["port"], timeout=10)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=given)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]  # kept beside it for the test
    connection.close()
    return answer


def bearer(place: Place) -> str:
    return f"Bearer {place.about()['token']}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic bm9ib2R5Ondyb25n"}, 401),
        ({"Authorization": "Basic ***"}, 401),
        ({"Host": "evil.example.com"}, 403),
        ({"Host": "127.0.0.1.evil.example.com:80"}, 403),
    ],
)
def test_without_the_token_or_with_a_foreign_host_nothing_is_answered(
    app: Place, headers: dict[str, str], status: int
) -> None:
    given = {"Authorization": bearer(app), **headers} if "Host" in headers else headers
    answer = ask(app, "/apps", **given)
    assert answer.status == status
    assert set(json.loads(answer.body)) >= {"id", "message"}  # type: ignore[attr-defined]


def test_a_web_page_gets_no_permission_to_read(app: Place) -> None:
    answer = ask(app, "/apps", Authorization=bearer(app), Origin="http://evil.example.com")
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control-")]
    assert ask(app, "/apps", "OPTIONS", Origin="http://evil.example.com").status == 401


def test_the_health_document_needs_no_token_and_holds_no_secret(app: Place) -> None:
    answer = ask(app, "/_herolocal/health?app=project")
    body = json.loads(answer.body)  # type: ignore[attr-defined]
    assert (answer.status, body["status"]) == (200, "ready")
    assert [addon["state"] for addon in body["addons"]] == ["provisioned"]
    assert body["dynos"] == [{"name": "web.1", "state": "up"}]
    assert body["release"] == {"version": 1, "status": "succeeded"}
    assert ask(app, "/_herolocal/health?app=project", Host="evil.example.com").status == 403


def test_an_unknown_link_is_named_and_a_broken_body_is_no_traceback(app: Place) -> None:
    answer = ask(app, "/apps/project/nosuch", Authorization=bearer(app))
    assert (answer.status, json.loads(answer.body)["id"]) == (404, "not_found")  # type: ignore[attr-defined]
    about = app.about()
    connection = http.client.HTTPConnection("127.0.0.1", about["port"], timeout=10)
    connection.request("POST", "/apps/project/dynos", body=b"{", headers={"Authorization": bearer(app)})
    answer = connection.getresponse()
    assert (answer.status, b"not JSON" in answer.read()) == (422, True)
    connection.close()


@pytest.mark.namespace
@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
def test_a_directory_of_programs_in_a_home_shows_no_more_of_it_and_nothing_of_herolocals(person: Person) -> None:
    with make_place(person) as place:
        programs, home = place.root / "bin", place.root / "bin" / "hl"
        programs.mkdir()
        (programs / "tool").write_text("#!/bin/sh\necho from-tool\n")
        (programs / "tool").chmod(0o755)
        (place.root / ".secret").write_text("hunter2")
        command = f"worker: tool; cat {place.root}/.secret {home}/platform.json; ls -A {home}; echo end; sleep 900\n"
        place.write({"Procfile": command})
        place.environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HEROLOCAL_HOME": str(home)}
        with place.up("--addons", "none", "--no-build", "--isolation", "namespace") as up:
            up.wait_for(r"app\[worker\.1\]: end")
            said = [line.split("]: ")[1] for line in up.output.splitlines() if "app[worker.1]: " in line]
            assert said[0] == "from-tool"
            assert [line.endswith("No such file or directory") for line in said[1:-1]] == [True, True]
            up.interrupt()
        assert (home / "state.db").exists()


def test_everything_of_ours_listens_on_the_loopback_only(app: Place) -> None:
    found = {
        (process.name(), entry.laddr.ip)
        for process in app.processes()
        for entry in process.net_connections("tcp")
        if entry.status == psutil.CONN_LISTEN
    }
    beyond = {(name, address) for name, address in found if address not in ("127.0.0.1", "::1")}
    assert {name for name, _ in beyond} <= {"python3", "python3.11", "python"}, (
        found
    )  # the app itself, by its own choice
    assert len(beyond) == 1


def test_secrets_are_private_on_the_disk_and_absent_from_the_logs(app: Place) -> None:
    private = [path for path in app.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert stat.S_IMODE(app.home.stat().st_mode) & 0o066 == 0
    for name in ("platform.json", "state.db", "platform.log", "tls/ca.key"):
        path = app.home / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    token = app.about()["token"]
    for path in private:
        if path.name != "platform.json" and os.access(path, os.R_OK):
            assert token.encode() not in path.read_bytes(), path
            assert b"hunter2-of-env" not in path.read_bytes(), path
    log = app.run("logs", "-n", "1500").stdout
    password = app.run("run", "echo $REDIS_URL").stdout.split(":")[2].split("@")[0]
    assert len(password) > 20
    assert password not in log
