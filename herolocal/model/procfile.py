"""A Procfile's text becomes process types and their commands; a bad line is named, never skipped."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from herolocal.errors import InvalidProcfile

# What `heroku local` and the builds accept (https://devcenter.heroku.com/articles/procfile).
_ENTRY = re.compile(r"(?P<type>[A-Za-z0-9_-]+):\s*(?P<command>.*)")
_COLON = re.compile(r"(?P<type>[^:\s]*)\s*:")


@dataclass(frozen=True, slots=True)
class Procfile:
    """Process type → command, in the file's order."""

    commands: Mapping[str, str]


def parse(text: str, file: str = "Procfile") -> Procfile:
    """Read a Procfile; blank lines and `#` comments are skipped. Raises InvalidProcfile naming file and line."""
    commands: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        type_, command = _entry(line, f"{file}:{number}")
        if type_ in seen:
            raise InvalidProcfile(
                f"{file}:{number}: the process type `{type_}` is there already, on line {seen[type_]}. Keep one."
            )
        commands[type_], seen[type_] = command, number
    return Procfile(commands)


def _entry(line: str, place: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(line)
    if match is None:
        colon = _COLON.match(line)
        found = f"`{colon['type']}` is no name for a process type" if colon else "there is no `TYPE:` at its start"
        raise InvalidProcfile(
            f"{place}: cannot read `{line}`: {found}. Write TYPE: COMMAND, such as `web: gunicorn app:app`; "
            "a type has letters, digits, - and _."
        )
    if not match["command"]:
        raise InvalidProcfile(
            f"{place}: the process type `{match['type']}` has no command. Write one, or remove the line."
        )
    return match["type"], match["command"]
