"""A template's mapping, as a YAML reader gives it, becomes a checked Template; unhonored keys are refused by name."""

import re
import shlex
from collections.abc import Callable, Collection
from enum import StrEnum

from herolocal.errors import InvalidTemplate
from herolocal.model.catalog import (
    VARIABLE,
    VARIABLES,
    ConfigVar,
    Container,
    CredentialForms,
    Plan,
    Readiness,
    Recipe,
    Substitute,
    Template,
)

_FIELD = re.compile(r"\{([^}]*)\}?")
_URL_FIELDS = ("attachment", "user", "password", "database", "host", "port", "tls_port")
_SECRET_FORM = re.compile(r"(?:[A-Za-z0-9_-]|\{(?:chars|hex):\d{1,3}\})*")
_SERVICE_NAME = re.compile(r"[a-z][a-z0-9-]*")
_PORT = re.compile(r"(?:127\.0\.0\.1::)?(?P<port>\d{1,5})")
_VOLUME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*):(?P<path>/[^:]*)")


def parse(body: object, file: str) -> Template:
    """Check a template's mapping, as a YAML reader gives it; raises InvalidTemplate with the path of what is wrong."""
    return _Reader(file).template(body)


class _Reader:
    """Checks types, and names each key that means nothing here."""

    def __init__(self, file: str) -> None:
        self._file = file

    def wrong(self, text: str) -> InvalidTemplate:
        return InvalidTemplate(f"{self._file}: {text}")

    # kinds of nodes -------------------------------------------------------------------------------------------------

    def mapping(self, value: object, path: str, known: Collection[str] | None = None) -> dict[str, object]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.wrong(f"{path} must be a mapping of names.")
        if known is not None:
            for key in value:
                if key not in known and not (key.startswith("x-") and not path.startswith("x-")):
                    raise self.wrong(
                        f"herolocal does not honor `{key}` in {path}. It knows: {', '.join(sorted(known))}."
                    )
        return value

    def text(self, value: object, path: str) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(f"{path} must be a text" + (" (put it in quotes)." if isinstance(value, bool) else "."))
        return str(value)

    def number(self, value: object, path: str) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(f"{path} must be a whole number.")
        return value

    def texts(self, value: object, path: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self.wrong(f"{path} must be a list.")
        return tuple(self.text(item, f"{path}[{number}]") for number, item in enumerate(value))

    def texts_by_name(self, value: object, path: str) -> dict[str, str]:
        return {key: self.text(item, f"{path}.{key}") for key, item in self.mapping(value, path).items()}

    def choice(self, kind: Callable[[str], StrEnum], value: object, path: str, known: Collection[str]) -> StrEnum:
        try:
            return kind(self.text(value, path))
        except ValueError:
            raise self.wrong(f"{path} must be one of {', '.join(known)}, not `{value}`.") from None

    def filled(self, text: str, path: str) -> str:
        """The text itself, once each variable in it is a known one."""
        for match in VARIABLE.finditer(text):
            if match["wrong"] is not None or (match["name"] is not None and match["name"] not in VARIABLES):
                known = ", ".join(f"HEROLOCAL_{name}" for name in VARIABLES)
                raise self.wrong(
                    f"{path}: unknown variable near `{match[0]}`. Known: {known}, as ${{NAME:-default}}; $$ is $."
                )
        return text

    # the Compose part -----------------------------------------------------------------------------------------------

    def template(self, value: object) -> Template:
        body = self.mapping(value, "the top level", ("services", "volumes", "x-herolocal"))
        services = self.mapping(body.get("services"), "services")
        if len(services) != 1:
            raise self.wrong(f"services must hold exactly one service, not {len(services)}.")
        for name, options in self.mapping(body.get("volumes") or {}, "volumes").items():
            if options:
                raise self.wrong(f"herolocal does not honor options of the volume `{name}`.")
        extra = self.mapping(body.get("x-herolocal"), "x-herolocal", _EXTRA)
        [(name, service)] = services.items()
        container = self.container(name, service, extra, frozenset(body.get("volumes") or ()))  # type: ignore[call-overload]  # a mapping, checked above
        return self.service(extra, container)

    def container(self, name: str, value: object, extra: dict[str, object], volumes: Collection[str]) -> Container:
        path = f"services.{name}"
        service = self.mapping(value, path, _SERVICE)
        if "image" not in service:
            raise self.wrong(f"{path} needs an `image`.")
        plain = Recipe(self.command(service["command"], f"{path}.command")) if "command" in service else Recipe()
        if "without-tls" in extra:
            plain = self.recipe(extra["without-tls"], "x-herolocal.without-tls")
        front = extra.get("with-tls") == "front"
        return Container(
            service=name,
            image=self.text(service["image"], f"{path}.image"),
            port=self.port(service.get("ports"), f"{path}.ports"),
            environment=self.environment(service.get("environment", {}), f"{path}.environment"),
            data=self.volume(service.get("volumes", []), f"{path}.volumes", volumes),
            without_tls=plain,
            with_tls=self.recipe(extra["with-tls"], "x-herolocal.with-tls")
            if "with-tls" in extra and not front
            else None,
            front=front,
            shm_size=self.text(service["shm_size"], f"{path}.shm_size") if "shm_size" in service else None,
            user=self.text(service["user"], f"{path}.user") if "user" in service else None,
        )

    def command(self, value: object, path: str) -> tuple[str, ...]:
        words = shlex.split(value) if isinstance(value, str) else self.texts(value, path)
        return tuple(self.filled(word, path) for word in words)

    def port(self, value: object, path: str) -> int:
        ports = self.texts(value, path) if value is not None else ()
        match = _PORT.fullmatch(ports[0]) if len(ports) == 1 else None
        if match is None:
            raise self.wrong(
                f'{path} must hold one port, as "127.0.0.1::PORT": herolocal publishes it on a random port.'
            )
        return int(match["port"])

    def environment(self, value: object, path: str) -> dict[str, str]:
        if isinstance(value, list):
            pairs = [text.partition("=") for text in self.texts(value, path)]
            if missing := [name for name, equals, _ in pairs if not equals]:
                raise self.wrong(f"{path}.{missing[0]} needs a value: the caller's environment is not passed on.")
            value = {name: text for name, _, text in pairs}
        return {name: self.filled(text, f"{path}.{name}") for name, text in self.texts_by_name(value, path).items()}

    def volume(self, value: object, path: str, known: Collection[str]) -> str | None:
        volumes = self.texts(value, path)
        if not volumes:
            return None
        match = _VOLUME.fullmatch(volumes[0]) if len(volumes) == 1 else None
        if match is None or match["name"] not in known:
            raise self.wrong(
                f"{path} must hold one named volume, as `data:/path`, that stands under the top level's `volumes`."
            )
        return match["path"]

    def recipe(self, value: object, path: str) -> Recipe:
        body = self.mapping(value, path, ("command", "files", "owner"))
        files = self.texts_by_name(body.get("files", {}), f"{path}.files")
        for name in files:
            if not name.startswith("/") or ".." in name.split("/"):
                raise self.wrong(f"{path}.files: `{name}` must be an absolute path.")
        return Recipe(
            self.command(body["command"], f"{path}.command") if "command" in body else None,
            {name: self.filled(text, f"{path}.files.{name}") for name, text in files.items()},
            self.text(body.get("owner", ""), f"{path}.owner"),
        )

    # the x-herolocal block ------------------------------------------------------------------------------------------

    def service(self, extra: dict[str, object], container: Container) -> Template:
        for key in _NEEDED:
            if key not in extra:
                raise self.wrong(f"x-herolocal needs `{key}`.")
        name = self.text(extra["name"], "x-herolocal.name")
        if _SERVICE_NAME.fullmatch(name) is None:
            raise self.wrong(f"x-herolocal.name: `{name}` may only have lower-case letters, digits and dashes.")
        plans = self.plans(extra["plans"])
        default = self.text(extra["default-plan"], "x-herolocal.default-plan")
        retired = self.texts_by_name(extra.get("retired-plans", {}), "x-herolocal.retired-plans")
        for plan in (default, *retired.values()):
            if plan not in plans:
                raise self.wrong(f"x-herolocal names the plan `{plan}`, which is not among `plans`.")
        embedded = extra.get("embedded")
        return Template(
            name=name,
            human_name=self.text(extra.get("human-name", name), "x-herolocal.human-name"),
            prefix=self.text(extra.get("prefix", name), "x-herolocal.prefix"),
            attachment=self.text(extra["attachment"], "x-herolocal.attachment"),
            plans=plans,
            default_plan=default,
            retired=retired,
            credentials=self.credentials(extra.get("credentials", {})),
            config_vars=self.config_vars(extra["config-vars"]),
            readiness=Readiness(self.choice(Readiness, extra["readiness"], "x-herolocal.readiness", tuple(Readiness))),
            embedded=None
            if embedded is None
            else Substitute(self.choice(Substitute, embedded, "x-herolocal.embedded", tuple(Substitute))),
            packages=self.texts(extra.get("packages", []), "x-herolocal.packages"),
            container=container,
        )

    def plans(self, value: object) -> dict[str, Plan]:
        plans = {}
        for name, limits in self.mapping(value, "x-herolocal.plans").items():
            path = f"x-herolocal.plans.{name}"
            members = self.mapping(limits or {}, path, ("price", "connections", "memory", "storage"))
            plans[name] = Plan(
                name,
                self.number(members.get("price"), f"{path}.price"),
                self.number(members.get("connections"), f"{path}.connections"),
                self.number(members.get("memory"), f"{path}.memory"),
                self.text(members.get("storage", ""), f"{path}.storage"),
            )
        return plans

    def credentials(self, value: object) -> CredentialForms:
        path = "x-herolocal.credentials"
        forms = self.texts_by_name(self.mapping(value, path, ("user", "password", "database")), path)
        for name, form in forms.items():
            if _SECRET_FORM.fullmatch(form) is None:
                raise self.wrong(
                    f"{path}.{name}: only letters, digits, _ and -, {{chars:N}} and {{hex:N}} are allowed."
                )
        return CredentialForms(**forms)

    def config_vars(self, value: object) -> tuple[ConfigVar, ...]:
        return tuple(
            self.config_var(name, form) for name, form in self.mapping(value, "x-herolocal.config-vars").items()
        )

    def config_var(self, name: str, value: object) -> ConfigVar:
        path = f"x-herolocal.config-vars.{name}"
        if isinstance(value, dict):
            members = self.mapping(value, path, ("with-tls", "without-tls"))
            forms = [self.text(members.get(key), f"{path}.{key}") for key in ("with-tls", "without-tls")]
        else:
            forms = [self.text(value, path)] * 2
        for form in (name, *forms):
            for found in _FIELD.findall(form):
                if found not in _URL_FIELDS:
                    raise self.wrong(f"{path}: unknown {{{found}}}. Known: {', '.join(_URL_FIELDS)}.")
        return ConfigVar(name, *forms)


_SERVICE = ("image", "command", "environment", "ports", "volumes", "shm_size", "user")
_NEEDED = ("name", "attachment", "plans", "default-plan", "config-vars", "readiness")
_EXTRA = (
    *_NEEDED,
    "human-name",
    "prefix",
    "retired-plans",
    "credentials",
    "embedded",
    "packages",
    "with-tls",
    "without-tls",
)
