"""Everything an app at work needs of its surroundings, handed down once by the assembly."""

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from herolocal.contracts.clock import Clock
from herolocal.contracts.network import Listeners, Ports
from herolocal.contracts.process import ProcessRunner
from herolocal.contracts.source import ProjectReader, SlugBuilder, SourceReader
from herolocal.contracts.store import AppStore, FormationStore, ReleaseStore
from herolocal.contracts.workspace import IsolationMode, Workspaces
from herolocal.model.choices import Isolation
from herolocal.platform.addons import Addons
from herolocal.platform.losses import Losses


class State(AppStore, FormationStore, ReleaseStore, Protocol):
    """What the apps themselves remember."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """One way of isolation, ready for use. `note` says which was taken, and what it cannot hide."""

    mode: IsolationMode
    runner: ProcessRunner
    workspaces: Workspaces
    note: str


@dataclass(frozen=True, slots=True)
class Means:
    """The machine and the memory of one home."""

    state: State
    clock: Clock
    random: random.Random
    ports: Ports
    listeners: Listeners
    projects: ProjectReader
    sources: SourceReader
    slugs: SlugBuilder
    addons: Addons
    losses: Losses
    isolate: Callable[[Isolation], Isolated]
    tls: Callable[[], ssl.SSLContext]
    user: str
