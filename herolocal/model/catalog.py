"""A compose template becomes an add-on service: plans, config vars, image; keys that nobody honors are refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from herolocal.errors import InvalidTemplate, UnknownAddon

_TOP = frozenset({"name", "services", "volumes", "x-herolocal"})
_SERVICE = frozenset({"image", "environment", "ports", "volumes", "command", "shm_size", "mem_limit"})
_OURS = frozenset(
    {"title", "plans", "default", "retired", "attachment", "prefix", "readiness", "embedded", "packages", "user"}
)
READINESS = frozenset({"postgresql", "redis", "elasticsearch"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of an add-on service; price in dollars a month, connections 0 where there is no limit to know."""

    name: str
    price: float
    connections: int = 0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """One add-on service. `compose_service` names its service in the file, `image` its default image."""

    service: str
    title: str
    compose_service: str
    image: str
    environment: Mapping[str, str]
    command: tuple[str, ...]
    port: int
    data: str
    plans: tuple[Plan, ...]
    default: str
    retired: Mapping[str, str]
    attachment: str
    prefix: str
    readiness: str
    embedded: str
    packages: tuple[str, ...]
    user: str

    def plan(self, name: str) -> tuple[Plan, str | None]:
        """The plan of this name, and a remark when the name is a retired one; raises UnknownAddon."""
        wanted = name or self.default
        current = self.retired.get(wanted, wanted)
        for plan in self.plans:
            if plan.name == current:
                note = f"{self.service}:{wanted} is retired on Heroku; it is {self.service}:{current} today."
                return plan, note if current != wanted else None
        names = ", ".join(plan.name for plan in self.plans)
        raise UnknownAddon(f"{self.service} has no plan `{wanted}`. Its plans: {names}.")


def template(service: str, body: object, file: str) -> Template:
    """Check and read a parsed compose file; raises InvalidTemplate naming file and key."""
    reader = _Reader(file)
    top = reader.mapping(body, "the file", _TOP)
    services = reader.mapping(top.get("services"), "services", None)
    if len(services) != 1:
        raise InvalidTemplate(f"{file}: `services` must hold exactly one service, the add-on's server.")
    (compose_service, raw), *_ = services.items()
    server = reader.mapping(raw, f"services.{compose_service}", _SERVICE)
    ours = reader.mapping(top.get("x-herolocal"), "x-herolocal", _OURS)
    plans = tuple(
        reader.plan(name, values)
        for name, values in reader.mapping(ours.get("plans"), "x-herolocal.plans", None).items()
    )
    readiness = reader.text(ours.get("readiness"), "x-herolocal.readiness")
    if readiness not in READINESS:
        raise InvalidTemplate(f"{file}: x-herolocal.readiness must be one of {', '.join(sorted(READINESS))}.")
    return Template(
        service=service,
        title=reader.text(ours.get("title"), "x-herolocal.title"),
        compose_service=compose_service,
        image=reader.text(server.get("image"), f"services.{compose_service}.image"),
        environment={
            name: str(value)
            for name, value in reader.mapping(server.get("environment", {}), "environment", None).items()
        },
        command=tuple(reader.texts(server.get("command", []), "command")),
        port=int(reader.texts(server.get("ports"), "ports")[0].rpartition(":")[2]),
        data=reader.texts(server.get("volumes"), "volumes")[0].rpartition(":")[2],
        plans=plans,
        default=reader.text(ours.get("default"), "x-herolocal.default"),
        retired={str(old): str(new) for old, new in reader.mapping(ours.get("retired", {}), "retired", None).items()},
        attachment=reader.text(ours.get("attachment"), "x-herolocal.attachment"),
        prefix=reader.text(ours.get("prefix"), "x-herolocal.prefix"),
        readiness=readiness,
        embedded=reader.text(ours.get("embedded", ""), "x-herolocal.embedded"),
        packages=tuple(reader.texts(ours.get("packages", []), "x-herolocal.packages")),
        user=reader.text(ours.get("user", ""), "x-herolocal.user"),
    )


class _Reader:
    """Checks shapes and names what is wrong."""

    def __init__(self, file: str) -> None:
        self._file = file

    def mapping(self, value: object, path: str, honored: frozenset[str] | None) -> dict[str, object]:
        if not isinstance(value, dict):
            raise InvalidTemplate(f"{self._file}: `{path}` must be a mapping.")
        unknown = [str(key) for key in value if honored is not None and key not in honored]
        if unknown:
            raise InvalidTemplate(
                f"{self._file}: herolocal does not honor `{unknown[0]}` in {path}. It honors: {', '.join(sorted(honored or ()))}."
            )
        return {str(key): item for key, item in value.items()}

    def text(self, value: object, path: str) -> str:
        if not isinstance(value, str):
            raise InvalidTemplate(f"{self._file}: `{path}` must be a string.")
        return value

    def texts(self, value: object, path: str) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
            raise InvalidTemplate(f"{self._file}: `{path}` must be a list of strings.")
        return [str(item) for item in value]

    def plan(self, name: str, value: object) -> Plan:
        values = self.mapping(value, f"plans.{name}", frozenset({"price", "connections", "memory_mb"}))
        numbers = {key: float(str(item)) for key, item in values.items()}
        return Plan(
            name, numbers.get("price", 0.0), int(numbers.get("connections", 0)), int(numbers.get("memory_mb", 0))
        )
