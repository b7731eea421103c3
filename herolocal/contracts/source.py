"""What a build asks of the machine: read a working tree, make a slug of it, install its dependencies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from herolocal.contracts.workspace import SlugTree

OnLine = Callable[[str], None]
"""Receives one line of build output, without its newline."""


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
    """How to build. `path` is the caller's PATH, where interpreters and package managers are looked for."""

    path: str
    install: bool = True
    python_any: bool = False
    fetch_python: bool = False


@dataclass(frozen=True, slots=True)
class BuiltSlug:
    """The outcome: a slug tree, its checksum, and one line for a person (`Python 3.11, requirements.txt, 43 packages`).

    `cached` when no dependency had to be installed. `size` is the compressed size in bytes. With
    `environment` None dynos run in the herolocal dyno environment; without a supported package file or with
    `install=False` it is True that `in_callers_environment`.
    """

    tree: SlugTree
    checksum: str
    summary: str
    size: int
    cached: bool
    in_callers_environment: bool
    notes: tuple[str, ...] = ()


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

    async def prune(self, keep: frozenset[str]) -> None:
        """Remove slug trees whose checksum is not in `keep`, and layers that no slug uses any more."""
        ...
