"""Config vars: whose value wins, what `${VAR}` stands for, what looks like production, what must be masked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from herolocal.errors import InvalidEnvFile

PORT = "PORT"
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.IGNORECASE)
# Hosts of services that hold somebody's real data.
_PRODUCTION = re.compile(
    r"://[^\s/]*(?:\.amazonaws\.com|\.herokuapp\.com|\.azure\.com|\.gcp\.cloud|\.redislabs\.com|\.upstash\.io|\.neon\.tech"
    r"|\.supabase\.co|\.mongodb\.net|\.bonsai\.io|\.searchly\.com|\.cloudamqp\.com)",
    re.IGNORECASE,
)
_LIVE_KEY = re.compile(r"^(?:sk_live_|rk_live_|AKIA[0-9A-Z]{16}$|SG\.[\w-]{16,}\.)")


@dataclass(frozen=True, slots=True)
class EnvEntry:
    """One assignment of a `.env` file."""

    name: str
    value: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The config vars of a release. `notes` are one line for each override, `warnings` for what looks live."""

    values: dict[str, str]
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def expand(entries: Sequence[EnvEntry], known: Mapping[str, str]) -> dict[str, str]:
    """Values with `${VAR}` replaced from earlier entries and `known` (add-on vars); never from the caller's shell."""
    values: dict[str, str] = {}

    def value_of(match: re.Match[str]) -> str:
        found = known.get(match["name"], values.get(match["name"]))
        return match["default"] or "" if found is None else found

    for entry in entries:
        values[entry.name] = _REFERENCE.sub(value_of, entry.value)
    return values


def resolve(
    *,
    app_json: Mapping[str, str],
    env: Sequence[EnvEntry],
    config: Mapping[str, str],
    attachments: Mapping[str, Mapping[str, str]],
) -> Resolved:
    """Merge: add-on attachment over `config:set` over `.env` over `app.json`. PORT never reaches a dyno this way."""
    attached = {name: value for values in attachments.values() for name, value in values.items()}
    expanded = expand(env, attached)
    expanded.pop(PORT, None)
    files = {entry.name: entry.file for entry in env}
    layers = (
        (dict.fromkeys(app_json, "app.json"), app_json),
        ({name: files[name] for name in expanded}, expanded),
        (dict.fromkeys(config, "config:set"), config),
        (dict.fromkeys(attached, "its add-on"), attached),
    )
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    for origin, layer in layers:
        for name, value in layer.items():
            if name in values and values[name] != value and sources[name] != "app.json":
                notes.append(f"{name} from {sources[name]} is overridden by {origin[name]}.")
            values[name], sources[name] = value, origin[name]
    live = [name for name in expanded if sources[name] == files[name] and looks_live(expanded[name])]
    warnings = [f"{name} in {files[name]} looks like a live service: dynos here will talk to it." for name in live]
    return Resolved(values, sources, tuple(notes), tuple(warnings))


def port_of(env: Sequence[EnvEntry]) -> int | None:
    """The router's port, where `.env` names one."""
    entry = next((entry for entry in reversed(env) if entry.name == PORT), None)
    if entry is None:
        return None
    if not entry.value.isdecimal() or not 0 < int(entry.value) < 65536:
        raise InvalidEnvFile(f"{entry.file}:{entry.line}: PORT must be a port number, not {entry.value!r}.")
    return int(entry.value)


def looks_live(value: str) -> bool:
    """Whether a value points to a hosted service or is a live key of a known kind."""
    return bool(_PRODUCTION.search(value) or _LIVE_KEY.search(value))


def masked(text: str) -> str:
    """The text with the passwords of its URLs hidden."""
    return _PASSWORD.sub(r"\g<head>***", text)
