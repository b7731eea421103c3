"""Scratch directories of dynos: made, compared against what was there, and removed whatever their modes."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from herolocal.contracts.workspace import Change, ChangeKind
from herolocal.errors import WorkspaceFailed

HEAD = 64


def make(path: Path) -> Path:
    """An empty private directory; raises WorkspaceFailed."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise failed("make", path, error) from error
    return path


def failed(what: str, path: Path, error: OSError) -> WorkspaceFailed:
    """What went wrong with a scratch directory, and what to do about it."""
    advice = {
        errno.ENOSPC: "The disk is full: free some space, or set HEROLOCAL_HOME to another disk.",
        errno.EROFS: "The disk is read-only: set HEROLOCAL_HOME to a writable directory.",
        errno.EACCES: "Set HEROLOCAL_HOME to a directory you may write.",
    }.get(error.errno or 0, "")
    return WorkspaceFailed(f"Cannot {what} the scratch directory {path}: {error.strerror}. {advice}".strip())


def remove(path: Path) -> None:
    """Delete a tree; raises WorkspaceFailed. One that is gone is no error."""

    def again(_function: object, name: str, _info: object) -> None:
        """A directory without rights for its owner: grant them, then once more."""
        entry = Path(name)
        for directory in (entry.parent, entry):
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(directory.lstat().st_mode):
                    directory.chmod(0o700)
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)

    try:
        shutil.rmtree(path, onerror=again)  # onexc is 3.12
    except FileNotFoundError:
        return
    except OSError as error:
        raise failed("remove", path, error) from error
    if path.exists():
        raise WorkspaceFailed(f"Cannot remove the scratch directory {path}: something in it does not let go.")


def give(directory: Path, owner: tuple[int, int]) -> None:
    """Let a tree belong to the uid that dynos of root run as: they may change all of /app, as on Heroku."""
    for here, directories, names in os.walk(directory):
        os.chown(here, *owner, follow_symlinks=False)
        for name in (*directories, *names):
            os.chown(Path(here) / name, *owner, follow_symlinks=False)


def open_up(directory: Path) -> None:
    """Let us read what a dyno of the same user has closed; root needs no leave."""
    if os.geteuid() == 0:
        return
    for path, entry in entries(directory, open_up=True):
        with contextlib.suppress(OSError):
            if entry.is_file(follow_symlinks=False) and not os.access(entry.path, os.R_OK):
                (directory / path).chmod(0o600)


def entries(directory: Path, *, open_up: bool = False) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below, with its path relative to `directory`, a directory before what is in it.

    What is in a directory that we may not read is left out, unless we are to `open_up`.
    """
    todo = [(str(directory), "")]
    while todo:
        here, relative = todo.pop()
        if open_up and not os.access(here, os.R_OK | os.W_OK | os.X_OK):
            with contextlib.suppress(OSError):
                Path(here).chmod(0o700)
        try:
            found = list(os.scandir(here))
        except OSError:
            continue
        for entry in found:
            path = f"{relative}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                todo.append((entry.path, f"{path}/"))
            yield path, entry


def files(directory: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry that is no directory."""
    return ((path, entry) for path, entry in entries(directory) if not entry.is_dir(follow_symlinks=False))


def created(path: str, entry: "os.DirEntry[str]", kind: ChangeKind = ChangeKind.CREATED) -> Change | None:
    """The change a file is; None when it vanished meanwhile or is no regular file or link."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return None
    head = b""
    if stat.S_ISREG(found.st_mode):
        with contextlib.suppress(OSError):  # written all the same, though we may not read it
            head = _head(entry.path)
    return Change(path, kind, found.st_size, head, Path(entry.path))


def deleted(path: str) -> Change:
    """A file of the slug that is gone."""
    return Change(path, ChangeKind.DELETED, 0, b"", None)


def _head(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, HEAD)
    finally:
        os.close(descriptor)
