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

_BLOCK = 1 << 20
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
    seen = _seen_layers(path, lower)
    below = next((layer / path for layer in seen if os.path.lexists(layer / path)), None)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        yield from _gone(path, below, seen)
    elif stat.S_ISDIR(found.st_mode):
        if below is not None and (not _is_directory(below) or _is_opaque(entry.path)):
            yield from (change for change in _gone(path, below, seen) if not _is_under(entry.path, path, change))
    elif below is not None and _is_directory(below):
        yield from _gone(path, below, seen)
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
    elif below is not None:  # a pipe or socket in its place
        yield scratch.deleted(path)


def _seen_layers(path: str, lower: tuple[Path, ...]) -> tuple[Path, ...]:
    """The layers that count at this path: a link or file in place of one of its directories hides what is below it."""
    layers = lower
    parts = path.split("/")
    for depth in range(1, len(parts)):
        prefix = "/".join(parts[:depth])
        there = [layer for layer in layers if os.path.lexists(layer / prefix)]
        hidden = next((n for n, layer in enumerate(there) if not _is_directory(layer / prefix)), len(there))
        layers = tuple(there[:hidden])
    return layers


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
        first, second = one.lstat(), other.lstat()
        if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
            return False
        if stat.S_ISLNK(first.st_mode):
            return one.readlink() == other.readlink()
        return stat.S_ISREG(first.st_mode) and first.st_size == second.st_size and _same_content(one, other)
    except OSError:
        return False


def _same_content(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(_BLOCK):
            if block != second.read(_BLOCK):
                return False
    return True
