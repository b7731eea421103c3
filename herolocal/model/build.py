"""Which package manager and which Python a tree asks for, in the words of Heroku's Python buildpack."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from herolocal.errors import BuildFailed

_VERSION = re.compile(r"(?P<minor>3\.\d+)(?:\.\d+)?")
_RUNTIME = re.compile(r"python-(?P<minor>3\.\d+)(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager: the file that names it, the files it reads, its command as Heroku shows it."""

    name: str
    lock: str
    files: tuple[str, ...]
    shown: str
    commands: Callable[[str, PurePath], Sequence[Sequence[str]]]
    count: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class PythonRequest:
    """The minor version that `origin` asks for; both empty when nothing does."""

    minor: str = ""
    origin: str = ""


def _pip(_tool: str, python: PurePath) -> Sequence[Sequence[str]]:
    flags = ("--exists-action=w", "--no-input", "--progress-bar", "off", "--disable-pip-version-check")
    return ((str(python / "bin" / "python"), "-m", "pip", "install", *flags, "-r", "requirements.txt"),)


def _uv(tool: str, python: PurePath) -> Sequence[Sequence[str]]:
    flags = (
        "--locked",
        "--no-default-groups",
        "--no-install-project",
        "--active",
        "--python",
        str(python / "bin" / "python"),
    )
    return ((tool, "sync", *flags),)


def _poetry(tool: str, _python: PurePath) -> Sequence[Sequence[str]]:
    return ((tool, "sync", "--only", "main", "--no-root", "--no-interaction", "--no-ansi"),)


def _pipenv(tool: str, _python: PurePath) -> Sequence[Sequence[str]]:
    return ((tool, "verify"), (tool, "sync"))


def _lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip() and line.strip()[0] not in "#-")


def _tables(text: str) -> int:
    return text.count("[[package]]")


def _pipfile_lock(text: str) -> int:
    try:
        return len(json.loads(text).get("default", {}))
    except (ValueError, AttributeError):
        return 0


MANAGERS = (
    Manager("pip", "requirements.txt", ("requirements.txt",), "pip install -r requirements.txt", _pip, _lines),
    Manager("pipenv", "Pipfile.lock", ("Pipfile", "Pipfile.lock"), "pipenv install --deploy", _pipenv, _pipfile_lock),
    Manager("poetry", "poetry.lock", ("pyproject.toml", "poetry.lock"), "poetry sync --only main", _poetry, _tables),
    Manager("uv", "uv.lock", ("pyproject.toml", "uv.lock"), "uv sync --locked --no-default-groups", _uv, _tables),
)
LOCKS = (*(manager.lock for manager in MANAGERS), ".python-version", "runtime.txt", "Pipfile")


def manager_of(files: Sequence[str]) -> Manager | None:
    """The package manager whose lock is in the root; raises BuildFailed for two of them, or a Pipfile without a lock.

    Source: heroku-buildpack-python v351, lib/package_manager.sh.
    """
    found = [manager for manager in MANAGERS if manager.lock in files]
    if len(found) > 1:
        names = ", ".join(manager.lock for manager in found)
        raise BuildFailed(
            f"Multiple Python package manager files were found: {names}. Delete those that you do not use."
        )
    if not found and "Pipfile" in files:
        raise BuildFailed("No 'Pipfile.lock' found! Run `pipenv lock`, and commit the file it writes.")
    return found[0] if found else None


def requested_python(texts: Mapping[str, str]) -> PythonRequest:
    """runtime.txt over .python-version over Pipfile.lock; raises BuildFailed for a version that cannot be read."""
    if "runtime.txt" in texts:
        match = _RUNTIME.fullmatch(texts["runtime.txt"].strip())
        if match is None:
            raise BuildFailed(
                f"Invalid Python version in runtime.txt: {texts['runtime.txt'].strip()!r}. Write python-3.12."
            )
        return PythonRequest(match["minor"], "runtime.txt")
    if ".python-version" in texts:
        return PythonRequest(_python_version(texts[".python-version"]), ".python-version")
    if "Pipfile.lock" in texts:
        return _from_pipfile(texts["Pipfile.lock"])
    return PythonRequest()


def _python_version(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise BuildFailed("No Python version found in .python-version. Write one line, such as 3.12.")
    if len(lines) > 1:
        raise BuildFailed(f"Multiple Python versions found in .python-version: {', '.join(lines)}. Keep one.")
    match = _VERSION.fullmatch(lines[0])
    if match is None:
        raise BuildFailed(f"Invalid Python version in .python-version: {lines[0]!r}. Write a version such as 3.12.")
    return match["minor"]


def _from_pipfile(text: str) -> PythonRequest:
    try:
        requires = json.loads(text)["_meta"].get("requires") or {}
        version = requires.get("python_full_version") or requires.get("python_version") or ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildFailed("Pipfile.lock is no lock of Pipenv. Run `pipenv lock` to write it anew.") from error
    match = _VERSION.fullmatch(str(version))
    return PythonRequest(match["minor"], "Pipfile.lock") if match else PythonRequest()
