"""Isolation by namespaces: a dyno has its own root, where /app is an overlay of the slug, and its own processes."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from herolocal.adapters import overlay, scratch
from herolocal.adapters.copies import reap
from herolocal.adapters.dyno_process import INIT, DynoProcess, Spec, spawn
from herolocal.contracts.process import Launch, OnOutput
from herolocal.contracts.workspace import Change, SlugTree, Workspace

ROOTS_DYNO = 61000  # for root: a uid that no distribution gives to anybody
USERS_DYNO = 1000  # in the nested user namespace of anyone else
VISIBLE = (
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/etc",
    "/opt",
    "/nix",
    "/sys",
    "/run/systemd/resolve",
)
_PROBE_SECONDS = 5
_REFUSAL = re.compile(r"^.*cannot isolate this dyno: (\[Errno \d+\] )?", re.DOTALL)


def dyno_owner() -> tuple[int, int] | None:
    """Who owns slug and scratch when we are root: dynos run as that uid. None for anyone else."""
    return (ROOTS_DYNO, ROOTS_DYNO) if os.geteuid() == 0 else None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Whether namespaces work here; `reason` when not."""

    available: bool
    reason: str = ""


class NamespaceIsolation:
    """ProcessRunner and Workspaces by mount and PID namespaces."""

    def __init__(self, home: Path) -> None:
        self._home = home / "scratch"

    @property
    def hidden_losses(self) -> str | None:
        return None

    async def fill(self, dyno_id: str, slug: SlugTree) -> Workspace:
        directory = self._home / dyno_id
        await asyncio.get_running_loop().run_in_executor(None, _fill, directory)
        return Workspace(dyno_id, slug, directory, Path("/app"), Path("/tmp"))

    async def changes(self, workspace: Workspace, *, ended: bool = False) -> tuple[Change, ...]:
        if ended:
            await asyncio.get_running_loop().run_in_executor(None, scratch.open_up, workspace.scratch)
        return await asyncio.get_running_loop().run_in_executor(None, overlay.changes, workspace)

    async def wipe(self, workspace: Workspace) -> None:
        await asyncio.get_running_loop().run_in_executor(None, scratch.remove, workspace.scratch)

    async def reap(self) -> int:
        return await asyncio.get_running_loop().run_in_executor(None, reap, self._home)

    async def spawn(self, launch: Launch, on_output: OnOutput) -> DynoProcess:
        environment = {name: value for name, value in launch.environment.items() if name != "TMPDIR"}
        spec = Spec(True, "/app", _members(launch.workspace), dyno_owner())
        return await spawn(replace(launch, environment=environment), spec, on_output)


def _fill(directory: Path) -> None:
    scratch.make(directory)
    owner = dyno_owner()
    for name in ("root", "upper", "work", "tmp"):
        path = scratch.make(directory / name)
        if owner is not None and name in ("upper", "tmp"):
            os.chown(path, *owner)
        path.chmod(0o755 if name != "tmp" else 0o1777)


def _members(workspace: Workspace) -> dict[str, object]:
    directory = workspace.scratch
    slug = workspace.slug
    root = os.geteuid() == 0
    dyno = ROOTS_DYNO if root else USERS_DYNO
    return {
        "hostname": str(uuid.uuid4()),
        "root": str(directory / "root"),
        "upper": str(directory / "upper"),
        "work": str(directory / "work"),
        "tmp": str(directory / "tmp"),
        "lower": [str(slug.directory), *(str(layer) for layer in slug.layers)],
        "hidden": [str(directory.parents[1])],  # ours, with the platform's token in it
        "visible": [*VISIBLE, *(str(path) for path in slug.interpreters)],
        "uid": dyno,
        "gid": dyno,
        "was_root": root,
    }


def probe(home: Path) -> ProbeResult:
    """Try it for real: a dyno's root in which a directory of the slug is removed and made again."""
    if sys.platform != "linux":
        return ProbeResult(False, "namespaces are a feature of Linux")
    directory = home / "scratch" / f"probe-{uuid.uuid4()}"
    try:
        slug = scratch.make(directory / "slug")
        (slug / "lower").mkdir()
        if owner := dyno_owner():
            os.chown(slug, *owner)
            os.chown(slug / "lower", *owner)
        slug.chmod(0o755)
        _fill(directory / "dyno")
        workspace = Workspace("probe", SlugTree(slug), directory / "dyno", Path("/app"), Path("/tmp"))
        return _try(workspace)
    finally:
        scratch.remove(directory)


def _try(workspace: Workspace) -> ProbeResult:
    """Run dyno_init once, as a dyno would."""

    command = "rm -r lower && mkdir lower && echo herolocal"
    shell = shutil.which("sh", path="/usr/bin:/bin") or "/bin/sh"
    spec = {
        "namespace": True,
        "terminal": False,
        "app": "/app",
        "argv": [shell, "-c", command],
        "environment": {"PATH": "/usr/bin:/bin"},
        **_members(workspace),
    }
    spec_read, spec_write = os.pipe()
    control, keep = os.pipe()
    os.write(spec_write, json.dumps(spec).encode())
    os.close(spec_write)
    try:
        result = subprocess.run(
            [sys.executable, "-S", "-I", str(INIT), str(spec_read), str(control)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(spec_read, control),
            env={},
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return ProbeResult(False, str(error))
    finally:
        for descriptor in (spec_read, control, keep):
            os.close(descriptor)
    text = result.stdout.decode("utf-8", "replace").strip()
    if result.returncode == 0 and text.endswith("herolocal"):
        return ProbeResult(True)
    return ProbeResult(False, _REFUSAL.sub("", text) or f"status {result.returncode}")
