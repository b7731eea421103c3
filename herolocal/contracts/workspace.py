"""What a dyno's ephemeral filesystem asks of the machine: filled from a slug, compared, wiped."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class IsolationMode(StrEnum):
    """How dynos are kept apart."""

    NAMESPACE = "namespace"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class SlugTree:
    """A slug, unpacked and read-only: the app's files, then the layers its builds added, lowest last.

    A layer is a directory whose content appears in /app too (`.heroku/python`, `.profile.d`); it is shared
    between slugs and never written. `interpreters` are prefixes outside of /usr (pyenv, uv) that the
    layers' programs need at their own path.
    """

    directory: Path
    layers: tuple[Path, ...] = ()
    interpreters: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """One dyno's filesystem. `app` is where its process sees its copy of the slug, also its HOME."""

    dyno_id: str
    slug: SlugTree
    scratch: Path
    app: Path
    tmp: Path


class ChangeKind(StrEnum):
    """What a dyno did to a path."""

    CREATED = "created"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """A file that a dyno wrote, changed or removed.

    `path` is as the app sees it: relative to its home (`app.db`) or absolute (`/tmp/x`). `size` in
    bytes, 0 when deleted. `head` holds the file's first 64 bytes, to tell its kind. `content` is where its
    bytes are until the wipe, None when deleted.
    """

    path: str
    kind: ChangeKind
    size: int
    head: bytes
    content: Path | None


class Workspaces(Protocol):
    """Makes, compares and wipes workspaces in one way of isolation."""

    async def fill(self, dyno_id: str, slug: SlugTree) -> Workspace:
        """A fresh writable copy of the slug; raises WorkspaceFailed (disk full, read-only)."""
        ...

    async def changes(self, workspace: Workspace, *, ended: bool = False) -> tuple[Change, ...]:
        """What differs from the slug now, running or not; directories are not reported, their files are.

        Once the dyno has `ended`, what it made unreadable is opened and found too.
        """
        ...

    async def wipe(self, workspace: Workspace) -> None:
        """Remove it, whatever modes its files have; a workspace that is gone is no error."""
        ...

    async def reap(self) -> int:
        """Remove what an earlier, killed platform of this home left behind; returns how many."""
        ...

    @property
    def hidden_losses(self) -> str | None:
        """What this mode does not watch or isolate, in one sentence for a person; None when nothing."""
        ...
