"""Which process types run, how many dynos of each, of which size; reads `web=2 worker=1:standard-2x`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from herolocal.errors import InvalidFormation
from herolocal.model.limits import DEFAULT_SIZE, MAX_DYNOS, DynoSize, size_named

RELEASE = "release"
WEB = "web"

_CHANGE = re.compile(r"(?P<type>[-\w]{1,128})(?P<sign>[=+-])(?P<quantity>\d{1,6})?(?::?(?P<size>[A-Za-z][-\w]*))?")


@dataclass(frozen=True, slots=True)
class FormationRow:
    """One process type of an app (`formation` in the Platform API)."""

    type: str
    quantity: int
    size: DynoSize = DEFAULT_SIZE


@dataclass(frozen=True, slots=True)
class Change:
    """One asked change: an absolute quantity, or a difference when `relative`."""

    type: str
    quantity: int
    relative: bool = False
    size: DynoSize | None = None


def parse(text: str) -> tuple[Change, ...]:
    """Read `web=2,worker+1` (commas or blanks between); raises InvalidFormation naming the part."""
    return tuple(parse_one(part) for part in re.split(r"[,\s]+", text.strip()) if part)


def parse_one(part: str) -> Change:
    """Read `web=2`, `web+1`, `web-1`, `web=2:standard-2x`."""
    match = _CHANGE.fullmatch(part)
    if match is None or match["quantity"] is None:
        raise InvalidFormation(f"Cannot read the formation `{part}`. Write TYPE=QUANTITY, such as web=2 or worker+1.")
    quantity = int(match["quantity"])
    size = size_named(match["size"]) if match["size"] else None
    if match["sign"] == "=":
        return Change(match["type"], quantity, size=size)
    return Change(match["type"], quantity if match["sign"] == "+" else -quantity, relative=True, size=size)


def initial(
    types: Iterable[str], asked: Sequence[FormationRow] = (), chosen: Sequence[str] = ()
) -> tuple[FormationRow, ...]:
    """One dyno of each type but `release`, unless `asked` (app.json's formation) says otherwise.

    Heroku starts `web` only at a first deploy; running every type is what a person at `up` expects. Where types are
    `chosen`, each of them gets at least one dyno and the others none; raises InvalidFormation for one that is unknown.
    """
    known = tuple(types)
    for name in chosen:
        if name not in known or name == RELEASE:
            raise InvalidFormation(_unknown(name, known))
    wanted = {row.type: row for row in asked}
    rows = tuple(wanted.get(name, FormationRow(name, 1)) for name in known if name != RELEASE)
    if chosen:
        rows = tuple(replace(row, quantity=max(1, row.quantity) if row.type in chosen else 0) for row in rows)
    return _bounded(rows)


def apply(rows: Sequence[FormationRow], changes: Iterable[Change], types: Iterable[str]) -> tuple[FormationRow, ...]:
    """The formation after `changes`; raises InvalidFormation for a type the Procfile does not have."""
    known = tuple(types)
    result = {row.type: row for row in rows if row.type in known}
    for change in changes:
        if change.type not in known or change.type == RELEASE:
            raise InvalidFormation(_unknown(change.type, known))
        row = result.get(change.type, FormationRow(change.type, 0))
        quantity = max(0, row.quantity + change.quantity) if change.relative else change.quantity
        result[change.type] = replace(row, quantity=quantity, size=change.size or row.size)
    return _bounded(tuple(result[name] for name in known if name in result))


def _bounded(rows: tuple[FormationRow, ...]) -> tuple[FormationRow, ...]:
    if sum(row.quantity for row in rows) > MAX_DYNOS:
        raise InvalidFormation(f"Cannot run more than {MAX_DYNOS} dynos in one app.")
    return rows


def _unknown(name: str, known: Sequence[str]) -> str:
    if name == RELEASE:
        return "Cannot scale `release`: it runs once for each release, in a one-off dyno."
    types = ", ".join(item for item in known if item != RELEASE) or "none"
    return f"Couldn't find the process type `{name}`. The Procfile has: {types}."
