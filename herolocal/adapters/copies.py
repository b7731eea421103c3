"""Isolation by copy: a dyno runs in a scratch directory that is a copy of the slug, as the person's own user."""

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from herolocal.adapters import scratch
from herolocal.adapters.dyno_process import DynoProcess, Spec, spawn
from herolocal.contracts.process import Launch, OnOutput
from herolocal.contracts.workspace import Change, ChangeKind, SlugTree, Workspace
from herolocal.errors import WorkspaceFailed

Stamp = tuple[int, int, int]


class CopyIsolation:
    """ProcessRunner and Workspaces for machines without namespaces, containers above all."""

    def __init__(self, home: Path) -> None:
        self._home = home / "scratch"
        self._manifests: dict[str, dict[str, Stamp]] = {}

    @property
    def hidden_losses(self) -> str | None:
        return (
            "Copy mode watches the dyno's own directory only: what it wrote elsewhere (/tmp by name, your home) is "
            "neither listed nor removed, and dynos see each other's processes."
        )

    async def fill(self, dyno_id: str, slug: SlugTree) -> Workspace:
        directory = self._home / dyno_id
        app, tmp = directory / "app", directory / "tmp"
        loop = asyncio.get_running_loop()
        try:
            self._manifests[dyno_id] = await loop.run_in_executor(None, _fill, directory, slug)
        except BaseException:
            await loop.run_in_executor(None, scratch.remove, directory)
            raise
        return Workspace(dyno_id, slug, directory, app, tmp)

    async def changes(self, workspace: Workspace, *, ended: bool = False) -> tuple[Change, ...]:
        manifest = self._manifests.get(workspace.dyno_id, {})
        if ended:
            await asyncio.get_running_loop().run_in_executor(None, scratch.open_up, workspace.scratch)
        return await asyncio.get_running_loop().run_in_executor(None, _changes, workspace, manifest)

    async def wipe(self, workspace: Workspace) -> None:
        self._manifests.pop(workspace.dyno_id, None)
        await asyncio.get_running_loop().run_in_executor(None, scratch.remove, workspace.scratch)

    async def reap(self) -> int:
        return await asyncio.get_running_loop().run_in_executor(None, reap, self._home)

    async def spawn(self, launch: Launch, on_output: OnOutput) -> DynoProcess:
        workspace = launch.workspace
        environment = {**launch.environment, "TMPDIR": str(workspace.tmp)}
        return await spawn(replace(launch, environment=environment), Spec(False, str(workspace.app)), on_output)


def reap(home: Path) -> int:
    """Remove every scratch directory below `home`; returns how many there were."""
    if not home.exists():
        return 0
    directories = list(home.iterdir())
    for directory in directories:
        scratch.remove(directory)
    return len(directories)


def _fill(directory: Path, slug: SlugTree) -> dict[str, Stamp]:
    """Copy the slug, show the layers, and take down what is there."""
    scratch.make(directory)
    scratch.make(directory / "tmp")
    app = directory / "app"
    _copy(slug.directory, app)
    for layer in slug.layers:
        _show(layer, app)
    return {path: _stamp(entry) for path, entry in scratch.files(app)}


def _copy(source: Path, target: Path) -> None:
    """A whole tree at once, sharing blocks where the file system can."""
    flags = ["-cR"] if sys.platform == "darwin" else ["-a", "--reflink=auto", "--no-preserve=ownership"]
    result = subprocess.run(["cp", *flags, "--", str(source), str(target)], capture_output=True, text=True, check=False)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["cp failed"])[-1]
        raise WorkspaceFailed(
            f"Cannot copy the slug into {target}: {last.partition(': ')[2] or last}. Free some space, or set "
            "HEROLOCAL_HOME to another disk."
        )
    target.chmod(0o755)


def _show(layer: Path, app: Path) -> None:
    """Let a layer's entries appear in the app: scripts copied, everything else linked."""
    for entry in sorted(layer.iterdir()):
        target = app / entry.name
        if entry.name == ".profile.d":
            shutil.copytree(entry, target, dirs_exist_ok=True)
        elif entry.is_dir():
            target.mkdir(exist_ok=True)
            for inner in entry.iterdir():
                if not (target / inner.name).exists():
                    (target / inner.name).symlink_to(inner)
        elif not target.exists():
            target.symlink_to(entry)


def _stamp(entry: "os.DirEntry[str]") -> Stamp:
    found = entry.stat(follow_symlinks=False)
    return (found.st_ctime_ns, found.st_ino, found.st_size)


def _changes(workspace: Workspace, manifest: dict[str, Stamp]) -> tuple[Change, ...]:
    """What differs from the manifest in the app's directory, and all that is in its /tmp."""
    changes: list[Change | None] = []
    seen = set()
    for path, entry in scratch.files(workspace.app):
        seen.add(path)
        try:
            stamp = _stamp(entry)
        except OSError:
            continue
        if path not in manifest:
            changes.append(scratch.created(path, entry))
        elif stamp != manifest[path]:
            # A pipe or socket in place of a file is that file's end.
            changes.append(scratch.created(path, entry, ChangeKind.MODIFIED) or scratch.deleted(path))
    changes += [scratch.deleted(path) for path in sorted(manifest.keys() - seen)]
    changes += [scratch.created(f"/tmp/{path}", entry) for path, entry in scratch.files(workspace.tmp)]
    return tuple(change for change in changes if change is not None)
