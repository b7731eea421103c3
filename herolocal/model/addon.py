"""Add-ons as Heroku names them: which plan a text means, what an attachment is called, which config vars it gives."""

import random
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from herolocal.errors import UnknownAddon
from herolocal.model.catalog import CredentialForms, Plan, Readiness, Template
from herolocal.model.names import made_up

# Attachments of a second database: https://devcenter.heroku.com/articles/managing-add-ons#attachments
COLORS = (
    "AMBER", "AQUA", "BLACK", "BLUE", "BRONZE", "BROWN", "CHARCOAL", "COBALT", "COPPER", "CRIMSON", "CYAN", "GOLD",
    "GRAY", "GREEN", "IVORY", "JADE", "MAROON", "MAUVE", "NAVY", "OLIVE", "ONYX", "ORANGE", "PINK", "PUCE", "PURPLE",
    "RED", "ROSE", "SILVER", "TEAL", "WHITE", "YELLOW",
)  # fmt: skip
_RANDOM = re.compile(r"\{(chars|hex):(\d+)\}")
_FIELD = re.compile(r"\{([a-z_]+)\}")
_REQUIREMENT = re.compile(r"(?P<name>[^\[]+)(?:\[(?P<extras>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """One add-on that an app is to have; `attachment` None leaves its name to us. `name` is set for a recorded one."""

    service: str
    plan: str
    attachment: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The plan that a text means; `note` says so when Heroku no longer sells the one that was asked for."""

    template: Template
    plan: Plan
    note: str = ""


def resolve(text: str, templates: Mapping[str, Template]) -> Resolved:
    """`heroku-postgresql` or `heroku-postgresql:mini` → template and plan; raises UnknownAddon with what there is."""
    service, _, wanted = text.strip().partition(":")
    template = templates.get(service)
    if template is None:
        raise UnknownAddon(
            f"Couldn't find the add-on service `{service}`. Available here: {', '.join(sorted(templates))}. "
            "Another one needs a template of its own, see `herolocal help addons`."
        )
    name = template.retired.get(wanted, wanted) or template.default_plan
    if name not in template.plans:
        raise UnknownAddon(f"{service} has no plan `{wanted}`. Plans: {', '.join(template.plans)}.")
    note = ""
    if wanted and wanted != name:
        note = f"{service}:{wanted} is no longer sold, Heroku gives {service}:{name} instead."
    return Resolved(template, template.plans[name], note)


def detect(packages: Iterable[str], templates: Mapping[str, Template]) -> tuple[tuple[str, str], ...]:
    """Services that the app's requirements imply, each with the requirement that does: `(heroku-redis, rq)`."""
    required = {form for package in packages for form in _forms(package)}
    found = []
    for name, template in sorted(templates.items()):
        because = next((package for package in template.packages if package in required), None)
        if because is not None:
            found.append((name, because))
    return tuple(found)


def _forms(requirement: str) -> Iterable[str]:
    """`Celery[redis,msgpack]` → `celery`, `celery[redis]`, `celery[msgpack]`."""
    match = _REQUIREMENT.match(requirement.strip())
    if match is None:
        return
    name = re.sub(r"[-_.]+", "-", match["name"]).lower()
    yield name
    for extra in filter(None, (match["extras"] or "").replace(" ", "").lower().split(",")):
        yield f"{name}[{extra}]"


def attachment_name(template: Template, taken: Collection[str], source: random.Random) -> str:
    """`DATABASE` for the first, `HEROKU_POSTGRESQL_OLIVE` for another one of the same service."""
    if template.attachment not in taken:
        return template.attachment
    base = template.name.upper().replace("-", "_")
    colors = [color for color in COLORS if f"{base}_{color}" not in taken]
    if not colors:
        raise UnknownAddon(f"An app cannot have more than {len(COLORS) + 1} add-ons of {template.name} here.")
    return f"{base}_{source.choice(colors)}"


def resource_name(template: Template, taken: Collection[str], source: random.Random) -> str:
    """A free resource name: `postgresql-flat-02648`."""
    name = made_up(template.prefix, source)
    while name in taken:
        name = made_up(template.prefix, source)
    return name


def make_up(forms: CredentialForms, source: random.Random) -> tuple[str, str, str]:
    """User, password and database in the forms of the template; `source` must be a secret one."""
    user, password, database = (_secret(form, source) for form in (forms.user, forms.password, forms.database))
    return user, password, database


def _secret(form: str, source: random.Random) -> str:
    def made(match: re.Match[str]) -> str:
        letters = "0123456789abcdef" if match[1] == "hex" else string.ascii_lowercase + string.digits
        return "".join(source.choices(letters, k=int(match[2])))

    return _RANDOM.sub(made, form)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is reached, and by whom. `tls_port` is the TLS port of a server that has a plain one too."""

    user: str
    password: str
    database: str
    host: str
    port: int
    tls_port: int | None = None


def config_vars(template: Template, attachment: str, address: Address, *, tls: bool) -> dict[str, str]:
    """The config vars of one attachment: `{"DATABASE_URL": "postgres://…"}`."""
    fields = {
        "attachment": attachment,
        "user": address.user,
        "password": address.password,
        "database": address.database,
        "host": address.host,
        "port": str(address.port),
        "tls_port": str(address.tls_port or address.port),
    }
    secure = tls and template.has_tls
    return {
        _put(var.name, fields): _put(var.with_tls if secure else var.without_tls, fields)
        for var in template.config_vars
    }


def config_var_names(template: Template, attachment: str) -> tuple[str, ...]:
    """The names alone."""
    return tuple(_put(var.name, {"attachment": attachment}) for var in template.config_vars)


def _put(form: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: fields[match[1]], form)


def plain_refused(template: Template, name: str, text: str) -> str:
    """Why a connection without TLS was refused, and what to do; `text` is the server's own word."""
    advice = {
        Readiness.POSTGRESQL: 'pass sslmode="require"',
        Readiness.REDIS: "use the rediss:// URL as it is, with ssl_cert_reqs=none",
    }.get(template.readiness, "connect with TLS")
    return (
        f"{name} requires TLS, as on Heroku, and refused: {text}. To connect, {advice}; or start with --addon-tls off."
    )


def merge(
    recorded: Sequence[PlanRequest], declared: Sequence[PlanRequest]
) -> tuple[tuple[PlanRequest, ...], tuple[str, ...]]:
    """What the app has and what is declared beyond that; and notes on declarations that change nothing.

    app.json counts when an app is created (https://devcenter.heroku.com/articles/app-json-schema), so a plan
    that it names for an add-on already there changes nothing.
    """
    left = list(recorded)
    new, notes = [], []
    for request in declared:
        match = next((have for have in left if _same(have, request)), None)
        if match is None:
            new.append(request)
            continue
        left.remove(match)
        if match.plan != request.plan:
            notes.append(f"{match.name} stays on the plan {match.service}:{match.plan}; app.json names {request.plan}.")
    return (*recorded, *new), tuple(notes)


def _same(have: PlanRequest, asked: PlanRequest) -> bool:
    return have.service == asked.service and asked.attachment in (None, have.attachment)
