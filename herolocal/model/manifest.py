"""app.json's text becomes what the app asks for; what herolocal does not honor in it is named."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from herolocal.errors import InvalidFormation, InvalidManifest, InvalidName
from herolocal.model.formation import FormationRow
from herolocal.model.limits import DEFAULT_SIZE, size_named
from herolocal.model.names import check_config_var

_HONORED = (
    "name",
    "description",
    "keywords",
    "website",
    "repository",
    "logo",
    "success_url",
    "env",
    "formation",
    "addons",
)
_SECRET_BYTES = 32  # 64 hexadecimal digits


@dataclass(frozen=True, slots=True)
class EnvVar:
    """One entry of `env`."""

    name: str
    value: str | None = None
    required: bool = True
    generator: str | None = None


@dataclass(frozen=True, slots=True)
class AddonRequest:
    """One entry of `addons`: `heroku-postgresql:essential-0`, perhaps with an attachment name."""

    plan: str
    attachment: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What app.json asks for; all empty without one. `unhonored` names the keys that change nothing here."""

    name: str = ""
    env: tuple[EnvVar, ...] = ()
    formation: tuple[FormationRow, ...] = ()
    addons: tuple[AddonRequest, ...] = ()
    unhonored: tuple[str, ...] = ()


def parse(text: str, file: str = "app.json") -> Manifest:
    """Read app.json; raises InvalidManifest with the place, or the path of the member that is wrong.

    https://devcenter.heroku.com/articles/app-json-schema
    """
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidManifest(f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from error
    reader = _Reader(file)
    members = reader.mapping(body, "the top level")
    return Manifest(
        name=reader.text(members.get("name", ""), "name"),
        env=tuple(reader.env(name, value) for name, value in reader.mapping(members.get("env", {}), "env").items()),
        formation=tuple(
            reader.row(name, value) for name, value in reader.mapping(members.get("formation", {}), "formation").items()
        ),
        addons=tuple(
            reader.addon(value, number) for number, value in enumerate(reader.list(members.get("addons", []), "addons"))
        ),
        unhonored=(*(name for name in members if name not in _HONORED), *reader.unhonored),
    )


def values(manifest: Manifest, source: random.Random, known: Mapping[str, str]) -> dict[str, str]:
    """Config vars that app.json gives: literal values, and secrets made up once (`known` holds earlier ones)."""
    result = {}
    for item in manifest.env:
        if item.generator == "secret":
            result[item.name] = known.get(item.name) or source.randbytes(_SECRET_BYTES).hex()
        elif item.value is not None:
            result[item.name] = item.value
    return result


class _Reader:
    """Checks types and names what is wrong by its path."""

    def __init__(self, file: str) -> None:
        self.unhonored: list[str] = []
        self._file = file

    def wrong(self, path: str, wanted: str, found: object) -> InvalidManifest:
        kind = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number"}
        return InvalidManifest(f"{self._file}: {path} must be {wanted}, not {kind.get(type(found), 'null')}.")

    def mapping(self, value: object, path: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self.wrong(path, "an object", value)
        return value

    def members(self, value: object, path: str, *honored: str) -> dict[str, object]:
        """An object, whose other members change nothing here and are noted."""
        found = self.mapping(value, path)
        self.unhonored += [f"{path}.{name}" for name in found if name not in honored]
        return found

    def list(self, value: object, path: str) -> "list[object]":
        if not isinstance(value, list):
            raise self.wrong(path, "a list", value)
        return value

    def text(self, value: object, path: str) -> str:
        if not isinstance(value, str):
            raise self.wrong(path, "a string", value)
        return value

    def value(self, value: object, path: str) -> str:
        """A text that an environment can hold."""
        text = self.text(value, path)
        if "\0" in text or not _is_encodable(text):
            raise InvalidManifest(f"{self._file}: {path} holds a character that no environment can hold.")
        return text

    def env(self, name: str, value: object) -> EnvVar:
        path = f"env.{name}"
        try:
            check_config_var(name)
        except InvalidName as error:
            raise InvalidManifest(f"{self._file}: {path}: {error}") from error
        if isinstance(value, str):
            return EnvVar(name, self.value(value, path))
        members = self.members(value, path, "description", "value", "required", "generator")
        given = members.get("value")
        required = members.get("required", True)
        if not isinstance(required, bool):
            raise self.wrong(f"{path}.required", "true or false", required)
        generator = members.get("generator")
        if generator not in (None, "secret"):
            raise InvalidManifest(f"{self._file}: {path}.generator must be `secret`, not {generator!r}.")
        return EnvVar(
            name,
            None if given is None else self.value(given, f"{path}.value"),
            required,
            None if generator is None else str(generator),
        )

    def row(self, name: str, value: object) -> FormationRow:
        path = f"formation.{name}"
        members = self.members(value, path, "quantity", "size")
        quantity = members.get("quantity", 1)
        if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 0:
            raise self.wrong(f"{path}.quantity", "a whole number from 0", quantity)
        size = members.get("size")
        try:
            return FormationRow(
                name, quantity, DEFAULT_SIZE if size is None else size_named(self.text(size, f"{path}.size"))
            )
        except InvalidFormation as error:
            raise InvalidManifest(f"{self._file}: {path}.size: {error}") from error

    def addon(self, value: object, number: int) -> AddonRequest:
        path = f"addons[{number}]"
        if isinstance(value, str):
            return AddonRequest(value)
        members = self.members(value, path, "plan", "as")
        given = members.get("as")
        return AddonRequest(
            self.text(members.get("plan"), f"{path}.plan"), None if given is None else self.text(given, f"{path}.as")
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
        return False
    return True
