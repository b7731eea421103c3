"""Finds the Python interpreters of this machine and chooses the one an app asks for."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from herolocal.contracts.source import BuildOptions
from herolocal.errors import BuildFailed
from herolocal.model.build import PythonRequest

_NAME = re.compile(r"python(3(\.\d+)?)?")
_ASK = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.base_prefix)"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python: its program, `3.11.7`, and the prefix it needs at run time."""

    program: Path
    version: str
    prefix: Path

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def choose(asked: PythonRequest, options: BuildOptions) -> tuple[Interpreter, tuple[str, ...]]:
    """The interpreter for an app, and what to tell; raises BuildFailed when no fitting one is here."""
    own = _own()
    if not asked.minor:
        note = (
            f"No Python version was specified; using Python {own.minor}, which runs herolocal. Heroku would use "
            f"its own default: write {own.minor} into .python-version."
        )
        return own, (note,)
    found = [own, *_on(options.caller.get("PATH", ""), options.caller.get("HOME", ""))]
    for interpreter in found:
        if interpreter.minor == asked.minor:
            return interpreter, ()
    if options.python_any:
        return own, (f"{asked.origin} asks for Python {asked.minor}; using {own.minor} because of --python-any.",)
    here = ", ".join(sorted({item.minor for item in found}))
    raise BuildFailed(
        f"{asked.origin} asks for Python {asked.minor}, and this machine has {here}. Install Python {asked.minor} "
        "(pyenv, uv python install, or the system's package), or build with what is here: --python-any."
    )


def _own() -> Interpreter:
    """The Python that runs herolocal."""
    prefix = Path(sys.base_prefix)
    program = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Interpreter(program if program.exists() else Path(sys.executable).resolve(), version, prefix)


def _on(path: str, home: str) -> Iterator[Interpreter]:
    """Those on PATH, then pyenv's and uv's."""
    directories = [Path(part) for part in path.split(os.pathsep) if part]
    for pattern in (".pyenv/versions/*/bin", ".local/share/uv/python/*/bin"):
        directories += sorted(Path(home).glob(pattern), reverse=True) if home else []
    seen: set[Path] = set()
    for directory in directories:
        for program in sorted(_programs(directory)):
            if program.resolve() not in seen and (found := _ask(program)):
                seen.add(program.resolve())
                yield found


def _programs(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []


@cache
def _ask(program: Path) -> Interpreter | None:
    """What a program says of itself; None when it does not run, or is older than Python 3."""
    try:
        result = subprocess.run(
            [str(program), "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=10, env={}, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, prefix = result.stdout.strip().partition("\n")
    return Interpreter(program, version, Path(prefix)) if version.startswith("3.") else None
