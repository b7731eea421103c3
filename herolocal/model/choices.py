"""What a person chose at `up`: one value that travels from the command line to the platform."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from herolocal.errors import UsageError


class Addons(StrEnum):
    """Where add-on servers come from (`--addons`)."""

    AUTO = "auto"
    DOCKER = "docker"
    EMBEDDED = "embedded"
    NONE = "none"


class Isolation(StrEnum):
    """How dynos are kept apart (`--isolation`)."""

    AUTO = "auto"
    NAMESPACE = "namespace"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Choices:
    """One `up`. `id` tells two requests apart; `caller` is what counts of the caller's environment."""

    id: str
    directory: str
    types: tuple[str, ...] = ()
    procfile: str | None = None
    env_files: tuple[str, ...] = ()
    port: int | None = None
    formation: str | None = None
    fresh: bool = False
    addons: Addons = Addons.AUTO
    addon_tls: bool = True
    isolation: Isolation = Isolation.AUTO
    build: bool = True
    python_any: bool = False
    detach: bool = False
    caller: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> Mapping[str, str]:
        """Images by Compose service name, from `HEROLOCAL_IMAGE_POSTGRES` and the like."""
        prefix = "HEROLOCAL_IMAGE_"
        return {
            name.removeprefix(prefix).lower(): value
            for name, value in self.caller.items()
            if name.startswith(prefix) and name != f"{prefix}PREFIX"
        }


_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "directory": str,
    "types": list,
    "procfile": (str, type(None)),
    "env_files": list,
    "port": (int, type(None)),
    "formation": (str, type(None)),
    "fresh": bool,
    "addons": str,
    "addon_tls": bool,
    "isolation": str,
    "build": bool,
    "python_any": bool,
    "detach": bool,
    "caller": dict,
}


def from_json(body: Mapping[str, object]) -> Choices:
    """Read a request body; raises UsageError naming the member that is wrong."""
    for name, value in body.items():
        if name not in _TYPES:
            raise UsageError(f"Unknown member `{name}` in the request to start an app.")
        if not isinstance(value, _TYPES[name]):
            raise UsageError(f"The member `{name}` of the request to start an app has the wrong type.")
    values = {name: _value(name, value) for name, value in body.items()}
    if "id" not in values or not PurePath(str(values.get("directory", ""))).is_absolute():
        raise UsageError("A request to start an app needs an `id` and an absolute `directory`.")
    return Choices(**values)  # type: ignore[arg-type]  # each member's type was checked above


def _value(name: str, value: object) -> object:
    if name in ("addons", "isolation"):
        try:
            return Addons(str(value)) if name == "addons" else Isolation(str(value))
        except ValueError:
            raise UsageError(f"Cannot read `{value}` as --{name}.") from None
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    if isinstance(value, dict):
        return {str(key): str(item) for key, item in value.items()}
    return value
