"""Add-ons and their attachments: which plan is meant, which config vars result, which add-ons an app seems to want."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from herolocal.errors import UnknownAddon
from herolocal.model.catalog import Plan, Template

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_SHORT = 13  # characters after the first in Heroku's made-up users and databases


@dataclass(frozen=True, slots=True)
class Wanted:
    """An add-on that an app is to have."""

    template: Template
    plan: Plan
    attachment: str


@dataclass(frozen=True, slots=True)
class Access:
    """Where a server is and who may enter; `tls_port` serves the same over TLS where that is a port of its own."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: bool
    tls_port: int | None = None


def wanted(text: str, templates: Mapping[str, Template], attachment: str | None = None) -> tuple[Wanted, str | None]:
    """`heroku-postgresql:essential-0` or a service alone; a remark for retired plans. Raises UnknownAddon."""
    service, _, plan_name = text.partition(":")
    template = templates.get(service)
    if template is None:
        raise UnknownAddon(f"Couldn't find the add-on service `{service}`. There are: {', '.join(sorted(templates))}.")
    plan, note = template.plan(plan_name)
    return Wanted(template, plan, attachment or template.attachment), note


def detected(packages: Collection[str], templates: Mapping[str, Template]) -> dict[str, str]:
    """Add-on service → the package that speaks to it, for apps that declare no add-ons."""
    found = {}
    for service, template in templates.items():
        package = next((name for name in template.packages if name in packages), None)
        if package is not None:
            found[service] = package
    return found


def config_vars(template: Template, attachment: str, access: Access) -> dict[str, str]:
    """What an attachment puts into the app's config, in Heroku's forms.

    https://devcenter.heroku.com/articles/connecting-heroku-postgres (`postgres://`, TLS required),
    https://devcenter.heroku.com/articles/heroku-redis (`rediss://`, TLS required).
    """
    at = f"{access.host}:{access.port}"
    if template.readiness == "postgresql":
        url = f"postgres://{access.user}:{access.password}@{at}/{access.database}"
        return {f"{attachment}_URL": url}
    if template.readiness == "redis":
        return {f"{attachment}_URL": f"{'rediss' if access.tls else 'redis'}://:{access.password}@{at}"}
    result = {f"{attachment}_URL": f"http://{access.user}:{access.password}@{at}"}
    if access.tls_port is not None:
        result[f"{attachment}_SSL_URL"] = f"https://{access.user}:{access.password}@{access.host}:{access.tls_port}"
    return result


def new_credentials(template: Template, source: random.Random) -> tuple[str, str, str]:
    """User, password, database, made up in the lengths Heroku uses."""
    user = template.user or "u" + _word(source)
    if template.readiness == "postgresql":
        return user, "p" + source.randbytes(32).hex(), "d" + _word(source)
    if template.readiness == "redis":
        return "", "p" + source.randbytes(32).hex(), ""
    return user, source.randbytes(16).hex(), ""


def _word(source: random.Random) -> str:
    return "".join(source.choice(_ALPHABET) for _ in range(_SHORT))
