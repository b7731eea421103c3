"""Reads a working tree as git would push it; where there is no git, `.gitignore`'s rules still count."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

from herolocal.contracts.source import Source
from herolocal.errors import BuildFailed
from herolocal.model.slug import gitignored, slugignored

_SEPARATOR = b"\0"
# Nothing of the person's own configuration may change what git says; a checkout of another owner is read all the same.
_ENVIRONMENT = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


class GitTree:
    """contracts.source.SourceReader."""

    async def read(self, directory: Path) -> Source:
        if not directory.is_dir():
            raise BuildFailed(f"There is no directory {directory}.")
        git = shutil.which("git")
        top = await _git(git, directory, "rev-parse", "--show-toplevel") if git else None
        source = await _from_git(str(git), directory, Path(os.fsdecode(top.strip()))) if top else _from_disk(directory)
        return _without_slugignored(source)


async def _git(git: str, directory: Path, *arguments: str) -> bytes | None:
    """The output of a git command, None when it failed."""
    process = await asyncio.create_subprocess_exec(
        git, "-C", str(directory), "-c", "core.quotepath=off", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
env=_ENVIRONMENT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output if process.returncode == 0 else None


async def _from_git(git: str, directory: Path, top: Path) -> Source:
    tracked, status, commit, branch = await asyncio.gather(
        _git(git, directory, "ls-files", "-z", "--cached", "--recurse-submodules"),
        _git(git, directory, "status", "-z", "--porcelain", "--untracked-files=all", "--no-renames", "--", "."),
        _git(git, directory, "rev-parse", "-q", "--verify", "HEAD"),
        _git(git, directory, "symbolic-ref", "-q", "--short", "HEAD"),
    )
    if tracked is None or status is None:
        raise BuildFailed(f"git cannot read the repository of {directory}. See what `git status` says there.")
    inside = os.path.relpath(directory.resolve(), top.resolve())
    prefix = "" if inside == "." else f"{inside}/"
    untracked, modified = _states(status, prefix)
    files = {os.fsdecode(name) for name in tracked.split(_SEPARATOR) if name} | set(untracked)
    notes = []
    if prefix:
        notes.append(f"This is a sub-directory: a push would send the whole repository, {top}.")
    if ".env" in files and ".env" not in untracked:
        notes.append(".env is committed: whoever gets the repository gets its secrets.")
    return Source(
        directory=directory,
        files=tuple(sorted(path for path in files if _reaches_a_dyno(directory, path, untracked))),
        untracked=tuple(path for path in untracked if path != ".env"),
        modified=tuple(modified),
        commit=(commit or b"").decode().strip(),
        branch=os.fsdecode((branch or b"").strip()),
        top=top if prefix else None,
        notes=tuple(notes),
    )


def _states(status: bytes, prefix: str) -> tuple[list[str], list[str]]:
    """Untracked and changed paths, relative to the app's directory."""
    untracked: list[str] = []
    modified: list[str] = []
    for entry in status.split(_SEPARATOR):
        if len(entry) > len(b"XY "):
            path = os.fsdecode(entry[3:]).removeprefix(prefix)
            (untracked if entry.startswith(b"??") else modified).append(path)
    return sorted(path for path in untracked if not path.endswith("/")), sorted(modified)


def _reaches_a_dyno(directory: Path, path: str, untracked: list[str]) -> bool:
    """A committed `.env` would be pushed, so it is in the slug; one that git does not know never is."""
    return _exists(directory / path) and (path != ".env" or path not in untracked)


def _exists(path: Path) -> bool:
    """A file or link; a tracked file that was deleted, and a submodule's directory, is not."""
    return path.is_symlink() or path.is_file()


def _from_disk(directory: Path) -> Source:
    """Without git: every file that `.gitignore` files let through."""
    files, gitignores = [], {}
    for here, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name != ".git")
        relative = os.path.relpath(here, directory)
        prefix = "" if relative == "." else f"{relative}/"
        links = [name for name in directories if (Path(here) / name).is_symlink()]
        files += [f"{prefix}{name}" for name in (*names, *links) if _exists(Path(here) / name)]
        if ".gitignore" in names:
            gitignores[prefix.rstrip("/")] = (Path(here) / ".gitignore").read_text(encoding="utf-8", errors="replace")
    kept = tuple(path for path in sorted(gitignored(files, gitignores)) if path != ".env")
    return Source(
        directory=directory, files=kept, notes=("There is no git repository here; a push needs one: git init",)
    )


def _without_slugignored(source: Source) -> Source:
    try:
        text = (source.directory / ".slugignore").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return replace(source, files=slugignored(source.files, text))
