"""What the upper layer of an overlay says of the files below it: written anew, changed, or gone.

A whiteout is a character device 0/0; a directory that was removed and made again is marked opaque
(https://docs.kernel.org/filesystems/overlayfs.html).
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from herolocal.adapters import scratch
from herolocal.contracts.workspace import Change, ChangeKind, Workspace

_OPAQUE = "user.overlay.opaque"  # of mounts with `userxattr`


def changes(workspace: Workspace) -> tuple[Change, ...]:
    """The exact set for /app; /tmp is all the dyno's own."""
    lower = (workspace.slug.directory, *workspace.slug.layers)
    found = {
        change.path: change
        for path, entry in scratch.entries(workspace.scratch / "upper")
        for change in _told_by(path, entry, lower)
    }
    temporary = (scratch.created(f"/tmp/{path}", entry) for path, entry in scratch.files(workspace.scratch / "tmp"))
    return (*found.values(), *(change for change in temporary if change is not None))


def _told_by(path: str, entry: "os.DirEntry[str]", lower: tuple[Path, ...]) -> Iterator[Change]:
    """The changes that one entry of the upper layer stands for."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return
    below = next((layer / path for layer in lower if os.path.lexists(layer / path)), None)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        yield from _gone(path, below, lower)
    elif stat.S_ISDIR(found.st_mode):
        if below is not None and (not _is_directory(below) or _is_opaque(entry.path)):
            yield from (change for change in _gone(path, below, lower) if not _is_under(entry.path, path, change))
    elif below is not None and _is_directory(below):
        yield from _gone(path, below, lower)
        yield from _written(path, entry, None)
    else:
        yield from _written(path, entry, below)


def _written(path: str, entry: "os.DirEntry[str]", below: Path | None) -> Iterator[Change]:
    """A new file, or a copy that differs from the slug's."""
    if below is not None and _same(Path(entry.path), below):
        return
    change = scratch.created(path, entry, ChangeKind.CREATED if below is None else ChangeKind.MODIFIED)
    if change is not None:
        yield change


def _gone(path: str, below: Path | None, lower: tuple[Path, ...]) -> Iterator[Change]:
    """The files of the slug that are hidden now: this one, or all below this directory."""
    if below is not None and not _is_directory(below):
        yield scratch.deleted(path)
        return
    inside = {name for layer in lower if _is_directory(layer / path) for name, _ in scratch.files(layer / path)}
    yield from (scratch.deleted(f"{path}/{name}") for name in sorted(inside))


def _is_under(directory: str, path: str, change: Change) -> bool:
    """Whether the file is there again in the new directory: that entry speaks for itself."""
    return os.path.lexists(directory + change.path.removeprefix(path)) and change.path != path


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _same(one: Path, other: Path) -> bool:
    """Whether a copied-up file was left as it was (only its mode or times were touched)."""
    try:
        if one.is_symlink() or other.is_symlink():
            return one.readlink() == other.readlink()
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False
