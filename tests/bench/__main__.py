"""`python -m tests.bench`: one table, each row beside real peers in the same run; ratios count, not times.

Peers: honcho (in this environment) and `heroku local` (installed by npm into a cache directory, where npm is there).
hivemind is in no package registry; 9.4 times honcho's pump rate and 0.55 times its start stand in for it, measured
once elsewhere.
"""

import argparse
import sys

from tests.bench.peers import Peer, peers
from tests.bench.rows import first_200, pump
from tests.bench.table import Row, text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--runs", type=int, default=5, help="medians of so many runs")
    parser.add_argument("--lines", type=int, default=300_000, help="lines of 100 bytes for the log pump")
    parser.add_argument("--no-heroku", action="store_true", help="leave `heroku local` out")
    options = parser.parse_args()
    found = peers(with_heroku=not options.no_heroku)
    rows = [*starts(found, options.runs), *pumps(found, options.runs, options.lines)]
    sys.stdout.write(text(rows) + "\n")


def starts(found: list[Peer], runs: int) -> list[Row]:
    times = {peer.name: first_200(peer, runs) for peer in found}
    ours = times["herolocal"]
    rows = [Row("time to first 200", "herolocal", ours.seconds, "s", None, "")]
    aims = {"honcho": ("≤ 4", 4.0), "heroku local": ("≤ 0.35", 0.35)}
    for name, other in times.items():
        if name != "herolocal":
            aim, limit = aims[name]
            ratio = ours.seconds / other.seconds
            rows.append(Row("", name, other.seconds, "s", ratio, f"{aim} {verdict(ratio <= limit)}"))
    return rows


def pumps(found: list[Peer], runs: int, lines: int) -> list[Row]:
    rates = {peer.name: pump(peer, runs, lines) for peer in found}
    ours = rates["herolocal"]
    rows = [
        Row(
            "log pump, 100-byte lines",
            "herolocal",
            ours.rate / 1000,
            "k lines/s",
            None,
            f"CPU {ours.cpu:.2f} s, {ours.delivered:.0%} shown",
        )
    ]
    aims = {"honcho": ("≥ 14", 14.0), "heroku local": ("≥ 4", 4.0)}
    for name, other in rates.items():
        if name != "herolocal":
            aim, limit = aims[name]
            ratio = ours.rate / other.rate
            note = f"{aim} {verdict(ratio >= limit)}, CPU {other.cpu:.2f} s, {other.delivered:.0%} shown"
            rows.append(Row("", name, other.rate / 1000, "k lines/s", ratio, note))
    return rows


def verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


if __name__ == "__main__":
    main()
