"""Builds a platform from a home directory: the only module that knows both the machine's side and Heroku's."""

import os
import random
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from herolocal.adapters.copies import CopyIsolation
from herolocal.adapters.deferred import DeferredServers
from herolocal.adapters.git_tree import GitTree
from herolocal.adapters.listeners import Listeners
from herolocal.adapters.namespaces import NamespaceIsolation, dyno_owner, probe
from herolocal.adapters.project import ProjectFiles
from herolocal.adapters.slug_store import SlugStore
from herolocal.adapters.sockets import Sockets
from herolocal.adapters.sqlite_store import SqliteStore
from herolocal.adapters.system_clock import SystemClock
from herolocal.adapters.templates import read_templates
from herolocal.adapters.trash import FileTrash
from herolocal.contracts.server import Backend, Servers
from herolocal.contracts.workspace import IsolationMode
from herolocal.errors import IsolationUnavailable
from herolocal.model.choices import Isolation
from herolocal.model.limits import KEPT_LAYERS
from herolocal.platform.addons import Addons
from herolocal.platform.apps import Apps
from herolocal.platform.losses import Losses
from herolocal.platform.means import Isolated, Means

if TYPE_CHECKING:
    from herolocal.adapters.authority import Authority


@dataclass(frozen=True, slots=True)
class Platform:
    """One home at work, and what its API needs besides."""

    apps: Apps
    store: SqliteStore
    listeners: Listeners
    ports: Sockets
    authority: "Callable[[], Authority]"
    home_id: str

    def close(self) -> None:
        """Close the state file."""
        self.store.close()


async def assemble(home: Path, environment: Mapping[str, str]) -> Platform:
    """Open a home, and clear what a killed platform left in it; raises StoreFailed and its kin."""
    await CopyIsolation(home).reap()
    isolate = _isolation(home)
    # The generator is the system's: ids and credentials must not be guessable.
    source = random.SystemRandom()
    clock = SystemClock()
    ports = Sockets(source)
    store = SqliteStore(home / "state.db")
    authority = _authority(home)
    home_id = _home_id(home)
    listeners = Listeners(ports)
    running: list[Apps] = []

    def tell(app: str, text: str) -> None:
        """What a server has to say goes to the log of its app."""
        for apps in running:
            apps.tell(app, text)

    def docker() -> Servers:
        from herolocal.adapters.docker_engine import DockerServers  # noqa: PLC0415 - slow to import

        return DockerServers(home_id, environment, authority(), ports, tell)

    def embedded() -> Servers:
        from herolocal.adapters.embedded import EmbeddedServers  # noqa: PLC0415 - slow to import

        return EmbeddedServers(home, authority(), ports, tell)

    servers: dict[Backend, Servers] = {
        Backend.DOCKER: DeferredServers(docker),
        Backend.EMBEDDED: DeferredServers(embedded),
    }
    addons = Addons(store, servers, read_templates(), clock, source)
    means = Means(
        state=store,
        clock=clock,
        random=source,
        ports=ports,
        listeners=listeners,
        projects=ProjectFiles(),
        sources=GitTree(),
        slugs=SlugStore(home, owner=dyno_owner()),
        addons=addons,
        losses=Losses(store, FileTrash(home)),
        isolate=isolate,
        tls=lambda: authority().server_context(),
        user=f"{environment.get('USER') or environment.get('LOGNAME') or 'you'}@localhost",
    )
    apps = Apps(means)
    running.append(apps)
    await means.slugs.prune(apps.slugs_to_keep(), clock.now() - KEPT_LAYERS)
    # An app with add-ons and no back end was killed in its first start, and may have left servers anywhere.
    for backend in {app.backend for app in store.apps() if app.backend or store.addons(app.name)}:
        await addons.reap(backend)
    return Platform(apps, store, listeners, ports, authority, home_id)


def _authority(home: Path) -> "Callable[[], Authority]":
    """The home's certificate authority, made when something first speaks TLS."""

    @cache
    def authority() -> "Authority":
        from herolocal.adapters.authority import Authority  # noqa: PLC0415 - slow to import

        return Authority(home)

    return authority


def _home_id(home: Path) -> str:
    """The name of this home on things that outlive a process, such as containers."""
    path = home / "id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.write_text(uuid.uuid4().hex)
        return path.read_text().strip()


def _isolation(home: Path) -> Callable[[Isolation], Isolated]:
    """Probes once, from now on, while the rest is put together."""
    executor = ThreadPoolExecutor(1)
    probing = executor.submit(probe, home)
    executor.shutdown(wait=False)

    def isolate(asked: Isolation) -> Isolated:
        result = probing.result()
        if asked is Isolation.NAMESPACE and not result.available:
            raise IsolationUnavailable(
                f"--isolation namespace was asked for, and this machine refuses it: {result.reason}. "
                "Use --isolation copy."
            )
        if asked is Isolation.COPY or not result.available:
            return _copy(home, "" if asked is Isolation.COPY else f" (no namespaces here: {result.reason})")
        isolation = NamespaceIsolation(home)
        note = "Dynos are isolated by namespaces: /app, /tmp, processes."
        return Isolated(IsolationMode.NAMESPACE, isolation, isolation, note)

    return isolate


def _copy(home: Path, why: str) -> Isolated:
    isolation = CopyIsolation(home)
    user = " as root" if os.geteuid() == 0 else ""
    note = (
        f"Dynos run in copies of the slug{user}{why}; not isolated: /app is a scratch directory, /tmp, processes and "
        "your files are shared."
    )
    return Isolated(IsolationMode.COPY, isolation, isolation, note)
