"""Reads compose templates: those shipped with herolocal, then a person's or project's own, which win."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from herolocal.errors import InvalidTemplate
from herolocal.model.catalog import Template, template

_PACKAGE = Path(__file__).parents[1]


def shipped() -> Path:
    """In a wheel the templates lie inside the package, in a checkout beside it."""
    inside = _PACKAGE / "compose.templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "compose.templates"


def read_templates(directories: Sequence[Path] = ()) -> Mapping[str, Template]:
    """Service name → template; raises InvalidTemplate naming the file."""
    found: dict[str, Template] = {}
    for directory in (shipped(), *directories):
        for path in sorted(directory.glob("*.yml")) if directory.is_dir() else ():
            found[path.stem] = _read(path)
    if not found:
        raise InvalidTemplate(f"There are no compose templates in {shipped()}. Install herolocal anew.")
    return found


def _read(path: Path) -> Template:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidTemplate(f"Cannot read {path.name}: {error}") from error
    return template(path.stem, body, path.name)
