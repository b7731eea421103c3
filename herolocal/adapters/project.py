"""Reads the files by which an app describes itself: Procfile, app.json, `.env`, and the names of its packages."""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from herolocal.adapters import env_files
from herolocal.contracts.source import Project
from herolocal.errors import InvalidManifest, InvalidProcfile, UsageError
from herolocal.model import manifest, procfile
from herolocal.model.configvars import EnvEntry

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_INCLUDE = re.compile(r"\s*(?:-r|--requirement)[\s=]+(\S+)")
_MISSPELLED = ("procfile", "PROCFILE", "ProcFile", "Procfile.txt", "procfile.txt", "Procfile.yml")


class ProjectFiles:
    """contracts.source.ProjectReader on the disk."""

    def read(self, directory: Path, procfile_path: Path | None) -> Project:
        path = directory / (procfile_path or "Procfile")
        name = str(procfile_path or "Procfile")
        try:
            parsed = procfile.parse(path.read_text(encoding="utf-8"), name)
        except FileNotFoundError as error:
            raise UsageError(_no_procfile(directory, name)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidProcfile(f"Cannot read {name}: {error}.") from error
        if not parsed.commands:
            raise InvalidProcfile(f"{name} is empty. Write a line such as `web: gunicorn app:app`.")
        asked = self._manifest(directory)
        return Project(parsed, asked, frozenset(_packages(directory)), tuple(_remarks(asked)))

    def _manifest(self, directory: Path) -> manifest.Manifest:
        try:
            return manifest.parse((directory / "app.json").read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            return manifest.Manifest()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidManifest(f"Cannot read app.json: {error}.") from error

    def read_env(self, directory: Path, paths: Sequence[Path]) -> tuple[EnvEntry, ...]:
        return env_files.read(paths, directory)


def _remarks(asked: manifest.Manifest) -> Iterator[str]:
    for key in asked.unhonored:
        yield f"app.json: herolocal does not honor `{key}`."


def _no_procfile(directory: Path, name: str) -> str:
    """Why there is none, and what to do: a message of its own for each way to miss it."""
    if not directory.is_dir():
        return f"There is no directory {directory}."
    if name != "Procfile":
        return f"There is no file {name} in {directory}. Name an existing one with -f FILE."
    for wrong in _MISSPELLED:
        if (directory / wrong).is_file():
            return f"Found `{wrong}`, but Heroku reads `Procfile` only. Rename it: git mv {wrong} Procfile"
    if (directory / "heroku.yml").is_file():
        return "Found heroku.yml, which is for container builds; herolocal runs a Procfile. Write one, or use -f FILE."
    if (directory / "Dockerfile").is_file():
        return "Found a Dockerfile, which herolocal does not build; it runs a Procfile. Write one, or use -f FILE."
    below = next((path for path in sorted(directory.glob("*/Procfile"))), None)
    if below is not None:
        name = below.parent.name
        return f"There is no Procfile in {directory}, but one in {name}/. Run herolocal there: cd {name}"
    return (
        f"There is no Procfile in {directory}. Write one line for each process type, such as `web: gunicorn app:app`, "
        "or see an example with `herolocal demo`."
    )


# the app's packages, to find out which add-ons it wants --------------------------------------------------------------


def _packages(directory: Path) -> set[str]:
    """Names of required packages, lower-case with dashes, from whatever files the app has."""
    found = set(_requirements(directory / "requirements.txt", set()))
    found |= set(_from_toml(directory / "pyproject.toml"))
    for lock in ("uv.lock", "poetry.lock"):
        listed = _list(_toml(directory / lock).get("package"))
        found |= {str(item.get("name", "")) for item in listed if isinstance(item, dict)}
    pipfile = _toml(directory / "Pipfile").get("packages", {})
    found |= set(pipfile) if isinstance(pipfile, dict) else set()
    found |= set(_from_package_json(directory / "package.json"))
    return {name.lower().replace("_", "-") for name in found if name}


def _requirements(path: Path, seen: set[Path]) -> Iterator[str]:
    if path in seen or not path.is_file():
        return
    seen.add(path)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if include := _INCLUDE.match(line):
            yield from _requirements((path.parent / include[1]).resolve(), seen)
        elif match := _REQUIREMENT.match(line):
            yield match[1]


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}  # the build names what is wrong with it


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _from_toml(path: Path) -> Iterator[str]:
    project = _toml(path).get("project")
    for line in _list(project.get("dependencies")) if isinstance(project, dict) else []:
        if match := _REQUIREMENT.match(str(line)):
            yield match[1]


def _from_package_json(path: Path) -> Iterator[str]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    dependencies = body.get("dependencies") if isinstance(body, dict) else None
    yield from dependencies if isinstance(dependencies, dict) else ()
