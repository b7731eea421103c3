"""What every back end of add-on servers does, seen by the clients that apps use."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import psutil
import psycopg2
import pytest
import redis
from elasticsearch import ApiError, AuthenticationException, Elasticsearch

from herolocal.contracts.server import Backend, ServerRequest
from herolocal.errors import ServerFailed
from herolocal.wire import postgresql
from tests.adapters.addon_machine import POSTGRESQL, REDIS, SEARCHBOX, Machine, wrong


def _needs_engine() -> None:
    """As the docker mark, but before the module's servers are started."""
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no container engine answers")


@pytest.fixture(scope="module", params=[Backend.EMBEDDED, pytest.param(Backend.DOCKER, marks=pytest.mark.docker)])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if request.param is Backend.DOCKER:
        _needs_engine()
    made = Machine(request.param, tmp_path_factory.mktemp(f"home-{request.param}"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(machine: Machine) -> dict[str, ServerRequest]:
    """The three servers, with TLS, for the whole module."""
    requests = {name: machine.make(name) for name in (POSTGRESQL, REDIS, SEARCHBOX)}
    machine.start(*requests.values())
    return requests


def query(url: str, text: str, **options: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(url, **{"sslmode": "require", **options})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def redis_client(url: str, **options: object) -> Iterator["redis.Redis"]:
    kwargs = {"ssl_cert_reqs": "none"} if url.startswith("rediss") else {}
    client = redis.Redis.from_url(url, **{**kwargs, **options})
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def search_client(url: str) -> Iterator[Elasticsearch]:
    if url.startswith("https"):
        client = Elasticsearch(url, verify_certs=False, ssl_show_warn=False)
    else:
        client = Elasticsearch(url)
    try:
        yield client
    finally:
        client.close()


class TestPostgreSQL:
    def test_psql_connects_with_sslmode_require(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        url = machine.url(served[POSTGRESQL])
        done = subprocess.run(["psql", f"{url}?sslmode=require", "-Atc", "select 1"], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("1\n", "")

    @pytest.mark.parametrize("binding", ["disable", "prefer"])
    def test_psycopg2_connects_whatever_it_thinks_of_channel_binding(
        self, machine: Machine, served: dict[str, ServerRequest], binding: str
    ) -> None:
        assert query(machine.url(served[POSTGRESQL]), "select 1", channel_binding=binding) == [(1,)]

    def test_the_certificate_is_ours_and_names_the_host(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        ca = str(machine.authority.ca_path)
        assert query(machine.url(served[POSTGRESQL]), "select 1", sslmode="verify-full", sslrootcert=ca) == [(1,)]

    def test_a_plain_connection_is_refused_in_the_servers_words_and_the_app_is_told(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba.conf entry for host .*, no encryption"):
            query(machine.url(served[POSTGRESQL]), "select 1", sslmode="disable")
        assert 'pass sslmode="require"' in machine.wait_for_notice("no encryption")

    def test_a_wrong_password_is_refused(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            query(machine.url(wrong(served[POSTGRESQL])), "select 1")

    def test_the_role_owns_its_database_and_is_no_superuser(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        url = machine.url(served[POSTGRESQL])
        query(url, "create table if not exists owned (a int); create extension if not exists citext")
        told = "select rolsuper, rolcreaterole, rolconnlimit from pg_roles where rolname = current_user"
        assert query(url, told) == [(False, False, 20)]

    def test_a_large_answer_comes_whole(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        [(text,)] = query(machine.url(served[POSTGRESQL]), "select repeat('x', 20000000)")
        assert len(str(text)) == 20_000_000

    def test_a_query_can_be_cancelled(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        """By psql, in a process of its own: libpq asks for it on a second connection while it holds the GIL."""
        url = machine.url(served[POSTGRESQL])
        command = ["psql", url, "-Xc", "select pg_sleep(100)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            active = "select count(*) from pg_stat_activity where query = 'select pg_sleep(100)'"
            while query(url, active) == [(0,)]:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert "canceling statement due to user request" in errors

    def test_tls_may_come_at_once(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        """libpq 17 and later: sslnegotiation=direct."""
        context = machine.authority.client_context(postgresql.ALPN)
        server = machine.running[served[POSTGRESQL].addon]
        with (
            socket.create_connection((server.host, server.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as secure,
        ):
            assert secure.selected_alpn_protocol() == postgresql.ALPN
            secure.sendall(postgresql.startup({"user": served[POSTGRESQL].credentials.user}))
            assert secure.recv(1) == postgresql.AUTHENTICATION


class TestRedis:
    def test_redis_py_connects(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        with redis_client(machine.url(served[REDIS])) as client:
            client.set("large", b"x" * 3_000_000)
            assert client.get("large") == b"x" * 3_000_000

    def test_the_certificate_is_ours_and_names_the_host(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        ca = str(machine.authority.ca_path)
        with redis_client(machine.url(served[REDIS]), ssl_cert_reqs="required", ssl_ca_certs=ca) as client:
            assert client.ping()

    def test_a_plain_connection_is_refused_and_the_app_is_told(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        plain = machine.url(served[REDIS]).replace("rediss:", "redis:")
        with redis_client(plain) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        assert "rediss://" in machine.wait_for_notice(served[REDIS].addon)

    @pytest.mark.parametrize("password", ["", "p" + "0" * 64])
    def test_a_wrong_password_is_refused(
        self, machine: Machine, served: dict[str, ServerRequest], password: str
    ) -> None:
        server = machine.running[served[REDIS].addon]
        url = f"rediss://:{password}@{server.host}:{server.port}"
        with redis_client(url) as client, pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            client.ping()

    def test_the_plans_limits_are_set(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        with redis_client(machine.url(served[REDIS]), decode_responses=True) as client:
            found = {name: client.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy", "maxclients")}
        assert found == {"maxmemory": str(25 * 1024 * 1024), "maxmemory-policy": "noeviction", "maxclients": "20"}

    def test_celery_runs_a_task(self, machine: Machine, served: dict[str, ServerRequest], tmp_path: Path) -> None:
        (tmp_path / "tasks.py").write_text(
            "import os\n"
            "from celery import Celery\n"
            "url = os.environ['REDIS_URL'] + '?ssl_cert_reqs=none'\n"
            "app = Celery('tasks', broker=url, backend=url, broker_connection_retry_on_startup=True)\n"
            "@app.task\n"
            "def add(a, b):\n"
            "    return a + b\n"
        )
        environment = {"PATH": os.environ["PATH"], "REDIS_URL": machine.url(served[REDIS]), "HOME": str(tmp_path)}
        worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "solo", "--without-mingle"]
        log = (tmp_path / "log").open("wb")
        with log, subprocess.Popen(worker, cwd=tmp_path, env=environment, stdout=log, stderr=log) as process:
            try:
                ask = "import tasks; print(tasks.add.delay(2, 3).get(timeout=60))"
                done = subprocess.run(
                    [sys.executable, "-W", "ignore", "-c", ask], cwd=tmp_path, env=environment, capture_output=True
                )
                assert done.stdout == b"5\n", done.stderr.decode() + (tmp_path / "log").read_text()
            finally:
                process.terminate()


class TestSearch:
    @pytest.mark.parametrize("name", ["SEARCHBOX_URL", "SEARCHBOX_SSL_URL"])
    def test_elasticsearch_py_indexes_and_finds(
        self, machine: Machine, served: dict[str, ServerRequest], name: str
    ) -> None:
        index = name.lower()
        with search_client(machine.urls(served[SEARCHBOX])[name]) as client:
            client.index(index=index, id="1", document={"body": "a green bicycle", "author": "susan"}, refresh=True)
            client.index(index=index, id="2", document={"body": "x" * 3_000_000, "author": "john"}, refresh=True)
            found = client.search(
                index=index, query={"multi_match": {"query": "bicycle", "fields": ["body", "author"]}}
            )
            assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]
            assert len(client.get(index=index, id="2")["_source"]["body"]) == 3_000_000
            client.delete(index=index, id="1", refresh=True)

    @pytest.mark.parametrize("name", ["SEARCHBOX_URL", "SEARCHBOX_SSL_URL"])
    def test_a_wrong_password_is_refused(self, machine: Machine, served: dict[str, ServerRequest], name: str) -> None:
        url = machine.urls(wrong(served[SEARCHBOX]))[name]
        with search_client(url) as client, pytest.raises(AuthenticationException):
            client.indices.create(index="forbidden")

    def test_no_password_is_refused_on_a_connection_that_had_one_before(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        with search_client(machine.url(served[SEARCHBOX])) as client:
            assert client.options(request_timeout=10).cluster.health()["status"]
            with pytest.raises(ApiError) as refused:
                client.options(basic_auth=("paas", "wrong")).cluster.health()
        assert refused.value.status_code == 401

    def test_curl_reaches_both_urls(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        for url in machine.urls(served[SEARCHBOX]).values():
            ca = str(machine.authority.ca_path)
            done = subprocess.run(["curl", "-sS", "--cacert", ca, f"{url}/_cluster/health"], capture_output=True)
            assert b'"cluster_name"' in done.stdout, done.stderr


class TestLife:
    """These stop, kill and forget servers of their own."""

    def test_data_survives_a_stop(self, machine: Machine, served: dict[str, ServerRequest]) -> None:
        query(machine.url(served[POSTGRESQL]), "create table kept (a int); insert into kept values (7)")
        with redis_client(machine.url(served[REDIS])) as client:
            client.set("kept", "7")
        with search_client(machine.url(served[SEARCHBOX])) as search:
            search.index(index="kept", id="7", document={"a": 7}, refresh=True)
        for request in served.values():
            machine.stop(request)
        machine.start(*served.values())
        assert query(machine.url(served[POSTGRESQL]), "select a from kept") == [(7,)]
        with redis_client(machine.url(served[REDIS])) as client:
            assert client.get("kept") == b"7"
        with search_client(machine.url(served[SEARCHBOX])) as search:
            assert search.get(index="kept", id="7")["_source"] == {"a": 7}

    def test_the_same_request_again_gets_the_same_server(
        self, machine: Machine, served: dict[str, ServerRequest]
    ) -> None:
        before = dict(machine.running)
        machine.start(served[POSTGRESQL], served[REDIS])
        assert machine.running == before

    @pytest.mark.parametrize("service", [POSTGRESQL, REDIS])
    def test_without_tls_plain_clients_work(self, machine: Machine, service: str) -> None:
        request = machine.make(service, tls=False)
        machine.start(request)
        if service == POSTGRESQL:
            assert query(machine.url(request), "select 1", sslmode="disable") == [(1,)]
        else:
            assert machine.url(request).startswith("redis://")
            with redis_client(machine.url(request)) as client:
                assert client.ping()
        machine.stop(request)
        machine.forget(request)

    def test_a_killed_server_is_told_and_starts_again_with_its_data(self, machine: Machine) -> None:
        request = machine.make(POSTGRESQL)
        machine.start(request)
        query(machine.url(request), "create table kept (a int); insert into kept values (7)")
        _kill_from_outside(machine, request)
        assert machine.wait_for_notice(f"{request.addon} ended by itself")
        machine.start(request)
        assert query(machine.url(request), "select a from kept") == [(7,)]

    def test_forgotten_data_is_gone(self, machine: Machine) -> None:
        request = machine.make(REDIS)
        machine.start(request)
        with redis_client(machine.url(request)) as client:
            client.set("kept", "7")
        machine.stop(request)
        machine.forget(request)
        machine.start(request)
        with redis_client(machine.url(request)) as client:
            assert client.get("kept") is None

    def test_a_throw_away_stands_beside_the_data_and_leaves_nothing(self, machine: Machine) -> None:
        request = machine.make(REDIS)
        machine.start(request)
        with redis_client(machine.url(request)) as client:
            client.set("kept", "7")
        machine.stop(request)
        fresh = replace(request, volume=f"{request.volume}-fresh", throwaway=True)
        machine.start(fresh)
        with redis_client(machine.url(fresh)) as client:
            assert client.get("kept") is None
        machine.stop(fresh)
        assert not [name for name in _volumes(machine) if name.endswith("-fresh")]
        machine.start(request)
        with redis_client(machine.url(request)) as client:
            assert client.get("kept") == b"7"

    def test_another_password_for_data_that_is_there_is_said(self, machine: Machine) -> None:
        request = machine.make(POSTGRESQL)
        machine.start(request)
        machine.stop(request)
        other = replace(request, credentials=replace(request.credentials, user="uabc", database="dabc"))
        if machine.backend is Backend.EMBEDDED:
            with pytest.raises(ServerFailed, match="does not know its own password"):
                machine.start(other)
        else:  # role and database are made beside the others
            machine.start(other)
            assert query(machine.url(other), "select current_user") == [("uabc",)]

    def test_what_a_dead_platform_left_is_reaped_and_its_data_is_kept(self, machine: Machine) -> None:
        request, fresh = machine.make(REDIS), machine.make(REDIS, throwaway=True)
        machine.start(request, fresh)
        with redis_client(machine.url(request)) as client:
            client.set("kept", "7")
        others = {name for name in machine.requests if name not in (request.addon, fresh.addon)}
        for name in others:
            machine.stop(machine.requests[name])
        dead, machine.servers = machine.servers, machine.another()
        machine.notices.clear()
        assert machine.reap() == 2
        assert machine.reap() == 0
        assert fresh.volume not in " ".join(_volumes(machine))
        machine.start(request)
        with redis_client(machine.url(request)) as client:
            assert client.get("kept") == b"7"
        for left in (request, fresh):  # what is left of them in this process
            machine.run(dead.stop(left.addon, kill=True))
        machine.requests.pop(fresh.addon)
        if machine.backend is Backend.DOCKER:
            dead.close()  # type: ignore[union-attr]  # the engine's connections


def _kill_from_outside(machine: Machine, request: ServerRequest) -> None:
    if machine.backend is Backend.EMBEDDED:
        directory = machine.home / "addons" / request.volume
        for process in psutil.process_iter(["name", "cwd"]):
            if process.info["name"] == "postgres" and process.info["cwd"] == str(directory / "data"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        return
    with contextlib.closing(docker.from_env()) as client:
        [container] = client.containers.list(filters={"label": f"dev.herolocal.addon={request.addon}"})
        container.kill()


def _volumes(machine: Machine) -> list[str]:
    if machine.backend is Backend.EMBEDDED:
        return [path.name for path in (machine.home / "addons").iterdir()]
    with contextlib.closing(docker.from_env()) as client:
        found = client.volumes.list(filters={"label": f"dev.herolocal.home={machine.home_id}"})
        return [volume.name for volume in found]
