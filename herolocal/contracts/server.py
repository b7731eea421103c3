"""What an add-on asks of the machine: a real server, started, reachable and ready, in a container or embedded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from herolocal.model.catalog import Plan, Template


class Backend(StrEnum):
    """Where add-on servers run; the choice sticks to the app."""

    DOCKER = "docker"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may log in to the server."""

    user: str
    password: str
    database: str = ""


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One add-on's server. `addon` is its resource name (`postgresql-flat-02648`), unique per home.

    `volume` names its data, kept between starts; a throw-away instance (`--fresh`) gets a volume of its own
    that `stop` removes when `throwaway` is set. `images` overrides the template's image by Compose service name.
    """

    app: str
    addon: str
    template: Template
    plan: Plan
    credentials: Credentials
    volume: str
    tls: bool
    throwaway: bool = False
    images: Mapping[str, str] | None = None
    image_prefix: str = ""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answered in its own protocol. `detail` is for the start line: `postgres:17 in Docker`.

    `parity` says in one sentence what this server is not (embedded ones), None when it is the real one.
    `tls_port` is where TLS is spoken, when `port` is plain and there is both.
    """

    addon: str
    host: str
    port: int
    detail: str
    parity: str | None = None
    tls_port: int | None = None


Progress = Callable[[str], None]
"""Receives a phase in a few words: `pulling postgres:17`, `starting`, `waiting for the server`."""


class Servers(Protocol):
    """Add-on servers of one backend."""

    async def start(self, request: ServerRequest, progress: Progress) -> RunningServer:
        """Start, or adopt what runs already, and wait until it is ready in its own protocol.

        Raises EngineUnavailable, ImageUnavailable, ServerFailed (with the last lines of the server's log).
        """
        ...

    async def stop(self, addon: str, *, kill: bool = False) -> None:
        """Stop it; data stays unless it was a throw-away. Not running is no error."""
        ...

    async def forget(self, volume: str) -> None:
        """Remove the data; the server must be stopped."""
        ...

    async def reap(self) -> int:
        """Remove what an earlier, killed platform of this home left running; volumes never. Returns how many."""
        ...

    async def describe(self) -> str | None:
        """The engine and its version in a few words, or None when this backend is not available here."""
        ...
