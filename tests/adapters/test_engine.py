"""What an engine that is shared, or lost on the way, means for add-ons in containers."""

import contextlib
import secrets
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from herolocal.adapters.engines import endpoints
from herolocal.contracts.server import Backend
from herolocal.errors import EngineUnavailable, ServerFailed
from tests.adapters.addon_machine import IMAGES, REDIS, Machine

pytestmark = pytest.mark.docker


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(Backend.DOCKER, tmp_path)
    yield made
    made.close()


@contextlib.contextmanager
def container_of_another(**labels: str) -> Iterator[DockerContainer]:
    """A running container that somebody else made, removed in the end."""
    testcontainers_config.ryuk_disabled = True  # it would need an image of its own, and a socket inside of it
    made = DockerContainer(IMAGES["redis"])
    made.with_kwargs(labels={f"dev.herolocal.{name}": value for name, value in labels.items()})
    with made as running:
        yield running


def is_running(container: DockerContainer) -> bool:
    with contextlib.closing(docker.from_env()) as client:
        found = client.containers.get(str(container.get_wrapped_container().id))
        return bool(found.status == "running")


def test_containers_of_others_are_never_touched(machine: Machine) -> None:
    other_home = {"home": secrets.token_hex(6), "boot": "1-x", "pidns": "1"}
    with container_of_another() as foreign, container_of_another(**other_home) as other:
        request = machine.make(REDIS)
        machine.start(request)
        machine.stop(request)
        machine.forget(request)
        assert machine.reap() == 0
        assert (is_running(foreign), is_running(other)) == (True, True)


def test_a_container_of_the_same_home_in_another_pid_namespace_is_left_alone_and_named(machine: Machine) -> None:
    request = machine.make(REDIS)
    labels = {"home": machine.home_id, "boot": "7-x", "pidns": "1", "addon": request.addon}
    with container_of_another(**labels) as other:
        assert machine.reap() == 0
        with pytest.raises(ServerFailed, match=r"uses the data of .* already, for a herolocal in another container"):
            machine.start(request)
        assert is_running(other)


@dataclass
class Bridge:
    """A TCP port that leads to the engine's socket, until it is frozen: then it answers nothing any more."""

    path: str
    frozen: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                self._listener.settimeout(0.1)
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(near,))
                self._threads.append(thread)
                thread.start()

    def _carry(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        with near, far:
            far.connect(self.path)
            while not self._closed.is_set():
                ready, _, _ = select.select([near, far], [], [], 0.1)
                if self.frozen.is_set():
                    continue
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    (path,) = [item.url.removeprefix("unix://") for item in endpoints({"HOME": "/nonexistent"})][:1]
    made = Bridge(path)
    yield made
    made.close()


def test_an_engine_that_stops_answering_is_told_in_time_and_its_containers_are_reaped_later(
    bridge: Bridge, tmp_path: Path
) -> None:
    through = Machine(
        Backend.DOCKER, tmp_path, environment={"DOCKER_HOST": f"tcp://127.0.0.1:{bridge.port}"}, limit=1.0
    )
    request = through.make(REDIS)
    through.start(request)
    bridge.frozen.set()
    with pytest.raises(EngineUnavailable, match=r"has stopped answering\. Restart it"):
        through.stop(request)
    assert through.run(through.servers.describe()) is None
    with pytest.raises(EngineUnavailable, match="No container engine answers"):
        through.start(through.make(REDIS))
    bridge.frozen.clear()
    through.servers = through.another()
    assert through.reap() == 1
    through.forget(request)
    through.close()
