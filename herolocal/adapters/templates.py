"""Reads add-on templates: those that came with herolocal, and a project's or a person's own."""

from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from herolocal.errors import InvalidTemplate
from herolocal.model.catalog import Template
from herolocal.model.template import parse

_DIRECTORY = "compose.templates"


def read_templates(own: Iterable[Path] = ()) -> dict[str, Template]:
    """All templates by service name; files in `own` (directories, or files) come later and replace ours by name.

    A directory that is not there is empty. Raises InvalidTemplate naming file and place.
    """
    files = _files(_shipped())
    for path in own:
        files += _files(path) if path.is_dir() else [path] if path.exists() else []
    templates: dict[str, Template] = {}
    for file in files:
        template = read_template(file)
        templates[template.name] = template
    return templates


def read_template(file: Traversable) -> Template:
    """One template; raises InvalidTemplate."""
    try:
        body = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader that allows no twin keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise InvalidTemplate(f"{file.name}{place}: not YAML: {error.problem}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidTemplate(f"Cannot read the add-on template {file.name}: {error}.") from error
    return parse(body, file.name)


class _Loader(yaml.SafeLoader):
    """Of two equal keys YAML readers keep the second without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - theirs
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _shipped() -> Traversable:
    """In an installed herolocal the templates are in the package, in a checkout beside it."""
    package = resources.files("herolocal")
    inside = package.joinpath(_DIRECTORY)
    if inside.is_dir():
        return inside
    return Path(str(package)).parent / _DIRECTORY


def _files(directory: Traversable) -> list[Traversable]:
    found = (entry for entry in directory.iterdir() if entry.name.endswith((".yml", ".yaml")))
    return sorted(found, key=lambda entry: entry.name)
