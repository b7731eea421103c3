"""Which names Heroku allows for apps and config vars, and names made up where nobody gave one."""

import random
import re
from collections.abc import Collection

from herolocal.errors import InvalidName

_APP = re.compile(r"[a-z][a-z0-9-]{1,28}[a-z0-9]")
_CONFIG_VAR = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHORTEST, _LONGEST = 3, 30

ADJECTIVES = (
    "calm",
    "clear",
    "cubic",
    "curved",
    "deep",
    "dry",
    "flat",
    "fluffy",
    "octagonal",
    "pointy",
    "round",
    "shaped",
)


def check_app_name(name: str) -> str:
    """The name itself; raises InvalidName in Heroku's words."""
    if _APP.fullmatch(name) is None:
        raise InvalidName(
            "Name must start with a letter, end with a letter or digit and can only contain lowercase letters, digits, "
            "and dashes."
        )
    return name


def app_name_for(directory: str, taken: Collection[str]) -> str:
    """A legal, free and readable name for the app of a directory of this name: `My Blog` → `my-blog`."""
    base = re.sub(r"[^a-z0-9]+", "-", directory.lower()).strip("-")
    if not base or not base[0].isalpha():
        base = f"app-{base}".rstrip("-")
    if len(base) < _SHORTEST:
        base += "-app"
    base = base[:_LONGEST].rstrip("-")
    name, number = base, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = base[: _LONGEST - len(suffix)].rstrip("-") + suffix
    return name


def check_config_var(name: str) -> str:
    """The name itself; raises InvalidName for what no shell could read."""
    if _CONFIG_VAR.fullmatch(name) is None:
        raise InvalidName(
            f"The config var name {name!r} may only have letters, digits and underscores, and no digit first."
        )
    return name


def made_up(prefix: str, source: random.Random) -> str:
    """`postgresql-flat-02648`."""
    return f"{prefix}-{source.choice(ADJECTIVES)}-{source.randrange(100_000):05d}"
