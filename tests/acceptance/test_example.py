"""The example, as a newcomer meets it: accounts, posts, search, uploads that vanish, data that stays."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import make_place
from tests.acceptance.driver import Place, get, me
from tests.demo.client import MicroblogClient

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 20
BACKENDS = [
    pytest.param(("embedded", "namespace"), marks=pytest.mark.namespace, id="embedded, namespace"),
    pytest.param(("embedded", "copy"), id="embedded, copy"),
    pytest.param(("docker", "auto"), marks=pytest.mark.docker, id="docker"),
]


@pytest.fixture(scope="module", params=BACKENDS)
def example(request: pytest.FixtureRequest) -> Iterator[tuple[Place, str, str]]:
    """The example, running in the background; its place, its backend, its URL."""
    backend, isolation = request.param
    with make_place(me()) as place:
        place.pass_images = True
        how = ("--timeout", "400", "--addons", backend, "--isolation", isolation)
        out = place.run("demo", str(place.project), "-d", "--wait", *how, seconds=500).stdout
        yield place, backend, re.findall(r"http://localhost:\d+", out)[-1]
        place.run("down", "--volumes")
        place.wait_until_gone()


def test_people_work_with_it_and_a_restart_takes_the_upload_only(example: tuple[Place, str, str]) -> None:
    place, _, url = example
    visitor = MicroblogClient(url)
    visitor.register("ada")
    visitor.post("the ephemeral filesystem forgets")
    assert [seen.body for seen in visitor.search("ephemeral")] == ["the ephemeral filesystem forgets"]
    path = visitor.upload("cat.png", PNG)
    assert visitor.get(path).status == 200
    health = visitor.healthz()
    assert (health.database, health.search, health.redis) == ("postgresql", True, True)
    visitor.start_task()
    assert visitor.finished_task().posts == 1

    place.run("restart", "web")
    place.wait_for_dyno("web.1", "up")
    lost = [loss for loss in json.loads(place.run("lost", "--json").stdout) if loss["real"]]
    assert [(loss["path"], loss["kind"], loss["dyno"]) for loss in lost] == [
        (path.removeprefix("/"), "upload", "web.1")
    ]
    assert place.run_bytes("lost", "show", "web.1", lost[0]["path"]) == PNG
    assert visitor.get(path).status == 404
    assert [seen.body for seen in visitor.search("ephemeral")] == ["the ephemeral filesystem forgets"]
    assert [seen.body for seen in visitor.timeline()] == ["the ephemeral filesystem forgets"]


def test_data_survives_down_and_up(example: tuple[Place, str, str]) -> None:
    place, backend, url = example
    place.run("down")
    place.wait_until_gone()
    place.run("up", "-d", "--wait", "--timeout", "400", seconds=500)
    assert [seen.body for seen in MicroblogClient(url).timeline()] == ["the ephemeral filesystem forgets"]
    assert backend in ("embedded", "docker")


def test_what_one_web_dyno_wrote_another_does_not_see(example: tuple[Place, str, str]) -> None:
    place, _, _ = example
    place.run("scale", "web=2")
    place.wait_for_dyno("web.2", "up")
    files = {}
    for dyno in ("web.1", "web.2"):
        visitor = MicroblogClient(place.url)
        visitor.login("ada")
        while (page := visitor.get("/")).dyno != dyno:
            assert page.status == 200
        files[dyno] = page.dyno
    visitor = MicroblogClient(place.url)
    visitor.login("ada")
    path = visitor.upload("both.png", PNG)
    seen = {visitor.get(path).status for _ in range(30)}
    assert seen == {200, 404}
    place.run("scale", "web=1")


def test_the_servers_want_tls_and_the_password(example: tuple[Place, str, str]) -> None:
    place, _, _ = example
    values = dict(line.split("=", 1) for line in place.run("run", "env").stdout.splitlines() if "_URL=" in line)
    database = values["DATABASE_URL"]
    assert psql(f"{database}?sslmode=require") == "1"
    assert "no encryption" in psql(f"{database}?sslmode=disable")
    assert "password authentication failed" in psql(
        re.sub(r":p[0-9a-f]{64}@", ":wrong@", database) + "?sslmode=require"
    )
    assert values["REDIS_URL"].startswith("rediss://")
    search = values["SEARCHBOX_URL"]
    assert get_with_password(f"{search}/_cluster/health") == "200"
    assert get_with_password(re.sub(r"paas:[0-9a-f]+@", "paas:wrong@", search) + "/_cluster/health") == "401"


def psql(url: str) -> str:
    """What psql says to `SELECT 1`."""
    result = subprocess.run(["psql", url, "-Atc", "SELECT 1"], capture_output=True, text=True)
    return result.stdout.strip() or result.stderr


def get_with_password(url: str) -> str:
    """The status that curl gets."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.docker
def test_docker_shows_the_servers(example: tuple[Place, str, str]) -> None:
    place, backend, _ = example
    home = (place.home / "id").read_text().strip()
    command = ["docker", "ps", "--filter", f"label=dev.herolocal.home={home}", "--format", "{{.Ports}}"]
    ports = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(ports) == (3 if backend == "docker" else 0)
    assert all(line.startswith("127.0.0.1:") for line in ports)


def test_the_router_answers_on_both_names_and_in_tls(example: tuple[Place, str, str]) -> None:
    place, _, url = example
    port = url.rpartition(":")[2]
    assert get(f"{url}/healthz")[0] == 200
    for address in (f"http://project.localhost:{port}/healthz", f"https://localhost:{port}/healthz"):
        command = ["curl", "-s", "--cacert", str(place.ca), "-o", "/dev/null", "-w", "%{http_code}", address]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "200"
