"""Builds a platform from a home directory: the only module that knows both the machine's side and Heroku's."""

import logging
import os
import random
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from herolocal.adapters.authority import Authority
from herolocal.adapters.copies import CopyIsolation
from herolocal.adapters.docker_engine import DockerServers
from herolocal.adapters.embedded import EmbeddedServers
from herolocal.adapters.git_tree import GitTree
from herolocal.adapters.listeners import Listeners
from herolocal.adapters.namespaces import NamespaceIsolation, probe
from herolocal.adapters.project import ProjectFiles
from herolocal.adapters.slug_store import SlugStore
from herolocal.adapters.sockets import Sockets
from herolocal.adapters.sqlite_store import SqliteStore
from herolocal.adapters.system_clock import SystemClock
from herolocal.adapters.templates import read_templates
from herolocal.adapters.trash import Trash
from herolocal.contracts.server import Backend
from herolocal.contracts.workspace import IsolationMode
from herolocal.errors import IsolationUnavailable
from herolocal.interfaces.api.rendezvous import Rendezvous
from herolocal.model.choices import Isolation
from herolocal.platform.addons import Addons
from herolocal.platform.apps import Apps
from herolocal.platform.losses import Losses
from herolocal.platform.means import Isolated, Means


@dataclass(frozen=True, slots=True)
class Platform:
    """One home at work, and what its API needs besides."""

    apps: Apps
    store: SqliteStore
    listeners: Listeners
    ports: Sockets
    authority: Authority
    home_id: str
    started: float

    def close(self) -> None:
        """Close the state file."""
        self.store.close()


async def assemble(home: Path, environment: Mapping[str, str]) -> Platform:
    """Open a home, clear what a killed platform left in it; raises StoreFailed and its kin."""
    raise NotImplementedError
