"""What herolocal remembers between runs: apps, releases, add-ons, losses; one transaction per change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from herolocal.contracts.server import Backend, Credentials
from herolocal.model.formation import FormationRow
from herolocal.model.loss import Loss
from herolocal.model.release import Release


@dataclass(frozen=True, slots=True)
class AppRecord:
    """An app of this home. `directory` is absolute; `port` is the router's, once it had one."""

    id: str
    name: str
    directory: str
    created_at: datetime
    port: int | None = None
    backend: Backend | None = None


@dataclass(frozen=True, slots=True)
class AddonRecord:
    """An add-on and its attachment to the app it was made for. `attachment` is `DATABASE`, `REDIS`, …"""

    id: str
    name: str
    app: str
    service: str
    plan: str
    attachment: str
    volume: str
    credentials: Credentials
    created_at: datetime


class AppStore(Protocol):
    """The apps, their config vars and their formation."""

    def apps(self) -> tuple[AppRecord, ...]:
        """All apps, oldest first."""
        ...

    def save_app(self, app: AppRecord) -> None:
        """Insert, or replace the one with this id."""
        ...

    def delete_app(self, name: str) -> None:
        """Forget it with all that refers to it."""
        ...


class FormationStore(Protocol):
    """Each app's formation and config vars."""

    def formation(self, app: str) -> tuple[FormationRow, ...]:
        """The recorded rows; empty before the first release."""
        ...

    def save_formation(self, app: str, rows: Sequence[FormationRow]) -> None:
        """Replace all rows."""
        ...

    def config_vars(self, app: str) -> Mapping[str, str]:
        """What `config:set` recorded; neither `.env` nor add-on vars."""
        ...

    def save_config_vars(self, app: str, values: Mapping[str, str]) -> None:
        """Replace all."""
        ...


class ReleaseStore(Protocol):
    """The ledger of releases."""

    def releases(self, app: str) -> tuple[Release, ...]:
        """Oldest first."""
        ...

    def save_release(self, app: str, release: Release) -> None:
        """Insert, or replace the one with this version."""
        ...


class AddonStore(Protocol):
    """The add-ons."""

    def addons(self, app: str) -> tuple[AddonRecord, ...]:
        """Of one app, oldest first."""
        ...

    def save_addon(self, addon: AddonRecord) -> None:
        """Insert, or replace the one with this id."""
        ...

    def delete_addon(self, name: str) -> None:
        """Forget it; no error when unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """Which losses to read: the newest `limit`, of one dyno name or type when given."""

    limit: int = 1000
    dyno: str = ""


class LossStore(Protocol):
    """The history of lost files."""

    def losses(self, app: str, page: Page) -> tuple[Loss, ...]:
        """Newest wipe first."""
        ...

    def add_losses(self, losses: Sequence[Loss]) -> None:
        """Record one wipe, in one transaction."""
        ...

    def forget_kept(self, kept: Sequence[str]) -> None:
        """The trash dropped these contents: their losses stay, without content."""
        ...
