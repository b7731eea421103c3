"""Add-on servers for tests: an event loop of their own in a thread, so that blocking clients can talk to them."""

import asyncio
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from herolocal.adapters.authority import Authority
from herolocal.adapters.backoff import until
from herolocal.adapters.docker_engine import DockerServers
from herolocal.adapters.embedded import EmbeddedServers
from herolocal.adapters.sockets import Sockets
from herolocal.adapters.templates import read_templates
from herolocal.contracts.server import Backend, Credentials, RunningServer, ServerRequest
from herolocal.model import addon
from herolocal.model.limits import ENGINE_TIMEOUT
from tests import images

Result = TypeVar("Result")

TEMPLATES = read_templates()
POSTGRESQL, REDIS, SEARCHBOX = "heroku-postgresql", "heroku-redis", "searchbox"
IMAGES = {name.removeprefix("HEROLOCAL_IMAGE_").lower(): image for name, image in images.variables().items()}
_SECONDS = 240.0
_REAP = """
import asyncio, random, sys
from pathlib import Path
from herolocal.adapters.authority import Authority
from herolocal.adapters.embedded import EmbeddedServers
from herolocal.adapters.sockets import Sockets
home = Path(sys.argv[1])
print(asyncio.run(EmbeddedServers(home, Authority(home), Sockets(random.Random()), print).reap()))
"""


@dataclass
class Machine:
    """One home with one back end."""

    backend: Backend
    home: Path
    notices: list[str] = field(default_factory=list)
    home_id: str = field(default_factory=lambda: secrets.token_hex(6))
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    limit: float = ENGINE_TIMEOUT

    def __post_init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="add-ons")
        self._thread.start()
        self.authority = Authority(self.home)
        self.servers = self.another()
        self.requests: dict[str, ServerRequest] = {}
        self.running: dict[str, RunningServer] = {}

    def another(self) -> EmbeddedServers | DockerServers:
        """The servers of the platform that comes after this one, in the same home."""
        ports = Sockets(random.Random())
        if self.backend is Backend.EMBEDDED:
            return EmbeddedServers(self.home, self.authority, ports, self._notice)
        return DockerServers(self.home_id, self.environment, self.authority, ports, self._notice, limit=self.limit)

    def _notice(self, app: str, text: str) -> None:
        self.notices.append(f"{app}: {text}")

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run on the servers' loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    def make(self, service: str, *, tls: bool = True, throwaway: bool = False) -> ServerRequest:
        """A request for a new add-on."""
        template = TEMPLATES[service]
        name = addon.resource_name(template, self.requests, random.SystemRandom())
        return ServerRequest(
            app="blog",
            addon=name,
            template=template,
            plan=template.plans[template.default_plan],
            credentials=Credentials(*addon.make_up(template.credentials, random.SystemRandom())),
            volume=name,
            tls=tls,
            throwaway=throwaway,
            images=IMAGES,
        )

    def start(self, *requests: ServerRequest) -> None:
        """Start all side by side."""

        async def start_all() -> None:
            await asyncio.gather(*map(self._start, requests))

        self.run(start_all())

    async def _start(self, request: ServerRequest) -> None:
        self.requests[request.addon] = request
        self.running[request.addon] = await self.servers.start(request, lambda _phase: None)

    def urls(self, request: ServerRequest) -> dict[str, str]:
        """The config vars of the add-on."""
        who, server = request.credentials, self.running[request.addon]
        address = addon.Address(who.user, who.password, who.database, server.host, server.port, server.tls_port)
        return addon.config_vars(request.template, request.template.attachment, address, tls=request.tls)

    def url(self, request: ServerRequest) -> str:
        """Its first config var."""
        return next(iter(self.urls(request).values()))

    def stop(self, request: ServerRequest, *, kill: bool = False) -> None:
        """Stop it."""
        self.run(self.servers.stop(request.addon, kill=kill))

    def forget(self, request: ServerRequest) -> None:
        """Forget its data."""
        self.run(self.servers.forget(request.volume))

    def reap(self) -> int:
        """What the platform that comes afterwards ends. It is no parent of embedded servers: a process of its own."""
        if self.backend is Backend.DOCKER:
            return self.run(self.servers.reap())
        command = [sys.executable, "-c", _REAP, str(self.home)]
        return int(subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2]).stdout)

    def wait_for_notice(self, text: str) -> str:
        """Wait until an app was told something."""

        async def look() -> str:
            async def ask() -> str | None:
                return next((notice for notice in self.notices if text in notice), None)

            async with asyncio.timeout(20):
                return await until(ask)

        return self.run(look())

    def close(self) -> None:
        """Stop and forget everything."""
        for request in self.requests.values():
            self.stop(request, kill=True)
            self.forget(request)
        if isinstance(self.servers, DockerServers):
            self.servers.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def wrong(request: ServerRequest) -> ServerRequest:
    """The same with another password, to make URLs of."""
    return replace(request, credentials=replace(request.credentials, password="p" + "0" * 64))
