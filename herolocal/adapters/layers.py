"""Dependency layers: one read-only directory for each (interpreter, package manager, lock), shared by all slugs.

A layer holds `.heroku/python`, a virtual environment whose scripts find their interpreter beside themselves, so the
same layer serves /app in a namespace and a link in a copy; and the `.profile.d` scripts of Heroku's Python buildpack.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from herolocal.adapters import scratch
from herolocal.adapters.profile_scripts import SCRIPTS
from herolocal.adapters.python_interpreters import Interpreter, choose
from herolocal.contracts.source import BuildOptions, OnLine, Source
from herolocal.errors import BuildFailed, DependenciesFailed, WorkspaceFailed
from herolocal.model.build import LOCKS, Manager, manager_of, requested_python

_CHUNK = 65536
_FORMAT = "3"  # of a layer; part of its key
_SHEBANG = b'#!/bin/sh\n\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"\n\' \'\'\'\n'
_KEPT_VARIABLES = re.compile(
    r"(PIP_|UV_|POETRY_|PIPENV_|SSL_CERT|REQUESTS_CA|CURL_CA|HTTPS?_PROXY|NO_PROXY|ALL_PROXY|NETRC)", re.IGNORECASE
)
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be installed, with which tool; `key` names the layer."""

    key: str
    manager: Manager
    interpreter: Interpreter
    directory: Path
    summary: str
    notes: tuple[str, ...]

    @property
    def interpreters(self) -> tuple[Path, ...]:
        """The interpreter's prefix, where a dyno would not see it otherwise."""
        return () if self.interpreter.prefix.is_relative_to("/usr") else (self.interpreter.prefix,)


class Layers:
    """Layers below `home/layers`, tools below `home/tools`."""

    def __init__(self, home: Path, *, owner: tuple[int, int] | None) -> None:
        self._layers = home / "layers"
        self._tools = home / "tools"
        self._owner = owner

    def plan(self, source: Source, options: BuildOptions) -> Plan | None:
        """None when no supported package file is there; raises BuildFailed in the buildpack's words."""
        manager = manager_of(source.files)
        if manager is None:
            return None
        texts = {name: _text(source.directory / name) for name in source.files if name in LOCKS and "/" not in name}
        asked = requested_python(texts)
        interpreter, notes = choose(asked, options)
        lock = _lock_contents(source, manager)
        parts = (_FORMAT, manager.name, interpreter.version, str(interpreter.prefix), lock)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        summary = f"Python {interpreter.minor}, {manager.lock}, {manager.count(texts[manager.lock])} packages"
        return Plan(key, manager, interpreter, source.directory, summary, notes)

    async def install(self, plan: Plan, options: BuildOptions, on_line: OnLine) -> tuple[Path, bool]:
        """The layer's directory, and whether it was there; two builds of a key make one. Raises DependenciesFailed."""
        layer = self._layers / plan.key
        if layer.exists():
            os.utime(layer)  # when it was used last, for `prune`
            return layer, True
        self._layers.mkdir(mode=0o711, parents=True, exist_ok=True)
        async with _lock(self._layers / f"{plan.key}.lock"):
            if layer.exists():
                return layer, True
            new = self._layers / f"new-{uuid.uuid4()}"
            try:
                await self._fill(new, plan, options, on_line)
                new.rename(layer)
            except OSError as error:
                raise WorkspaceFailed(
                    f"Cannot make the dependency layer: {error.strerror}. Is the disk full?"
                ) from error
            finally:
                await asyncio.get_running_loop().run_in_executor(None, scratch.remove, new)
        return layer, False

    def prune(self, used_after: float) -> None:
        """Remove layers that were used before, and what a killed build left."""
        for directory in self._layers.glob("*/"):
            if directory.name.startswith("new-") or directory.stat().st_mtime < used_after:
                scratch.remove(directory)

    async def _fill(self, new: Path, plan: Plan, options: BuildOptions, on_line: OnLine) -> None:
        python = new / ".heroku" / "python"
        python.parent.mkdir(parents=True, mode=0o755)
        new.chmod(0o755)
        run = Runner(_environment(options.caller), on_line)
        on_line(f"Installing Python {plan.interpreter.version}")
        await run(str(plan.interpreter.program), "-m", "venv", str(python), what=plan)
        tool = await self._tool(plan, options, run)
        on_line(f"Installing dependencies using '{plan.manager.shown}'")
        project = plan.directory if plan.manager.name == "pip" else _copy_project(plan, new / "project")
        for arguments in plan.manager.commands(tool, python):
            await run(*arguments, what=plan, cwd=project, extra={"VIRTUAL_ENV": str(python)})
        scratch.remove(new / "project")
        relocate(python, new)
        _write_profile(new)
        if self._owner is not None:
            await asyncio.get_running_loop().run_in_executor(None, scratch.give, new, self._owner)

    async def _tool(self, plan: Plan, options: BuildOptions, run: "Runner") -> str:
        """The package manager: the layer's own pip, one on the caller's PATH, or one installed by pip for this."""
        name = plan.manager.name
        if name == "pip":
            return ""
        if found := shutil.which(name, path=options.caller.get("PATH")):
            return found
        directory = self._tools / f"{name}-{plan.interpreter.version}"
        program = directory / "bin" / name
        if not program.exists():
            run.on_line(f"Installing {name}")
            await run(str(plan.interpreter.program), "-m", "venv", str(directory), what=plan)
            await run(str(directory / "bin" / "python"), "-m", "pip", "install", "-q", name, what=plan)
        return str(program)


class Runner:
    """Runs build commands, their output line by line."""

    def __init__(self, environment: Mapping[str, str], on_line: OnLine) -> None:
        self._environment = environment
        self.on_line = on_line

    async def __call__(
        self, *arguments: str, what: Plan, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> None:
        """Run to the end; raises DependenciesFailed. Cancelled, the command and its children are killed."""
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=cwd, env={**self._environment, **(extra or {})}, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            if process.stdout is not None:
                await self._pass_on(process.stdout)
            status = await process.wait()
        except BaseException:
            os.killpg(process.pid, 9)
            await process.wait()
            raise
        if status:
            raise DependenciesFailed(
                f"Unable to install dependencies using {what.manager.name}: `{what.manager.shown}` ended with status "
                f"{status}. Its output above says why; fix {what.manager.lock} and start again."
            )

    async def _pass_on(self, output: asyncio.StreamReader) -> None:
        """Lines of any length."""
        rest = b""
        while data := await output.read(_CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.on_line(line.decode("utf-8", "replace").rstrip())
        if rest:
            self.on_line(rest.decode("utf-8", "replace"))


@asynccontextmanager
async def _lock(path: Path) -> AsyncIterator[None]:
    """One build of a key at a time, over all processes."""
    with path.open("w") as file:
        await asyncio.get_running_loop().run_in_executor(None, fcntl.flock, file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFailed(f"Unable to read {path.name}: {error}.") from error


def _lock_contents(source: Source, manager: Manager) -> str:
    """The text of everything that decides what is installed, included requirement files too."""
    todo, texts, seen = list(manager.files), [], set()
    while todo:
        name = todo.pop(0)
        path = source.directory / name
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        texts.append(f"{name}\0{_text(path)}")
        todo += (
            [os.path.normpath(Path(name).parent / found) for found in _INCLUDE.findall(texts[-1])]
            if manager.name == "pip"
            else []
        )
    return "\0".join(texts)


def _environment(caller: Mapping[str, str]) -> dict[str, str]:
    """PATH, and what a person set for pip, proxies and certificates."""
    kept = {name: value for name, value in caller.items() if _KEPT_VARIABLES.match(name)}
    home = {"HOME": caller["HOME"]} if "HOME" in caller else {}
    return {"PATH": caller.get("PATH") or os.defpath, "LANG": "C.UTF-8", **home, **kept}


def _copy_project(plan: Plan, target: Path) -> Path:
    """The files these package managers read, apart from the app: they like to write beside them."""
    target.mkdir()
    for name in plan.manager.files:
        if (plan.directory / name).is_file():
            shutil.copyfile(plan.directory / name, target / name)
    return target


def relocate(python: Path, layer: Path) -> None:
    """Let scripts find the interpreter beside themselves: the layer is seen at two places."""
    beginning = f"#!{python}/bin/python".encode()
    for script in (python / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        if content.startswith(beginning):
            script.write_bytes(_SHEBANG + content.partition(b"\n")[2])
        elif content.startswith(b"#!/bin/sh\n'''exec' ") and str(layer).encode() in content[:600]:
            script.write_bytes(_SHEBANG + content.split(b"\n", 3)[3])


def _write_profile(layer: Path) -> None:
    directory = layer / ".profile.d"
    directory.mkdir(mode=0o755)
    for name, text in SCRIPTS.items():
        (directory / name).write_text(text)
