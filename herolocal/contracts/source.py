"""What a build asks of the machine: read a working tree, make a slug of it, install its dependencies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from herolocal.contracts.workspace import SlugTree
from herolocal.model.configvars import EnvEntry
from herolocal.model.manifest import Manifest
from herolocal.model.procfile import Procfile

OnLine = Callable[[str], None]
"""Receives one line of build output, without its newline."""


@dataclass(frozen=True, slots=True)
class Project:
    """How an app describes itself. `packages` are the names it requires, by which add-ons are found; `notes` warn."""

    procfile: Procfile
    manifest: Manifest
    packages: frozenset[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A working tree as git would push it. Paths are relative to `directory`, `/`-separated, sorted.

    `files` are those that reach a dyno. `untracked` (a subset of `files`) and `modified` are what a push
    would not carry. `commit` and `branch` are empty without git.
    `top` is the repository's root when the app is a sub-directory.
    """

    directory: Path
    files: tuple[str, ...]
    untracked: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    commit: str = ""
    branch: str = ""
    top: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build. `caller` is the caller's environment: a build takes PATH, pip's and proxy settings of it."""

    caller: Mapping[str, str] = field(default_factory=dict)
    install: bool = True
    python_any: bool = False


@dataclass(frozen=True, slots=True)
class BuiltSlug:
    """The outcome: a slug tree, its checksum, and one line for a person (`Python 3.11, requirements.txt, 43 packages`).

    `cached` when no dependency had to be installed. `size` is the slug's in bytes, compressed where that was near the
    limit. Without a supported package file, or with `install=False`, dynos run `in_callers_environment`.
    """

    tree: SlugTree
    checksum: str
    summary: str
    size: int
    cached: bool
    in_callers_environment: bool
    notes: tuple[str, ...] = ()


class ProjectReader(Protocol):
    """Reads the files by which an app describes itself."""

    def read(self, directory: Path, procfile_path: Path | None) -> Project:
        """Procfile, app.json, package names; raises UsageError and its children, each with what to do."""
        ...

    def read_env(self, directory: Path, paths: Sequence[Path]) -> tuple[EnvEntry, ...]:
        """The assignments of `.env` files, in order; raises InvalidEnvFile with file and line."""
        ...


class SourceReader(Protocol):
    """Reads a project directory."""

    async def read(self, directory: Path) -> Source:
        """The files git would push, plus untracked ones that are not ignored, minus `.slugignore`'s."""
        ...


class SlugBuilder(Protocol):
    """Makes slugs."""

    async def build(self, source: Source, options: BuildOptions, on_line: OnLine) -> BuiltSlug:
        """Raises BuildFailed and its children, MachineError when the disk is full. Nothing half made stays."""
        ...

    async def prune(self, keep: frozenset[str], layers_used_after: datetime) -> None:
        """Remove slugs whose checksum is not in `keep`, and layers that no build has used since; while no app runs."""
        ...
