"""The one table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ratio` is herolocal's over the peer's."""

    what: str
    who: str
    value: float
    unit: str
    ratio: float | None
    note: str


def text(rows: list[Row]) -> str:
    """Aligned columns."""
    lines = [f"{'what':<26} {'who':<14} {'median':>18}  {'ratio':>7}  aim"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"{row.what:<26} {row.who:<14} {row.value:>8.3f} {row.unit:<9}  {ratio:>7}  {row.note}")
    return "\n".join(lines)
