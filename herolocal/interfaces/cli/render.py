"""Everything a person sees is written here: log lines, the steps of a start, lost files, tables, errors."""

import contextlib
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Protocol

SEPARATOR = b"\x1e"
_LABEL = 10
_UNITS = ("B", "KB", "MB", "GB")
_KILO = 1024
_LINE = re.compile(rb"^(\S+ ([\w-]+)\[([\w.-]+)\]:)(.*)$", re.DOTALL)

Json = Mapping[str, Any]


class OutputClosed(Exception):
    """Standard output is closed: a closed terminal, or `| head`."""


class Busy(Protocol):
    """Something that shows that work goes on."""

    def show(self, text: str) -> None: ...
    def hide(self) -> None: ...


class Quiet:
    """No terminal, no spinner."""

    def show(self, text: str) -> None:
        pass

    def hide(self) -> None:
        pass


class Spinner:
    """A spinner on the last line of a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - slow, and for terminals only

        self._status = Console(file=sys.stdout).status("")
        self._on = False

    def show(self, text: str) -> None:
        self._status.update(text)
        if not self._on:
            self._status.start()
            self._on = True

    def hide(self) -> None:
        if self._on:
            self._status.stop()
            self._on = False


def has_color(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Colors on a terminal only, and never with NO_COLOR (https://no-color.org)."""
    return terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _has_parts() -> bool:
    """Whether what draws on a terminal is installed: not in an environment with the client's verbs alone."""
    return all(find_spec(name) for name in ("rich", "honcho"))


def _palette() -> Iterator[str]:
    """One color after the other, for each dyno in the order they appear."""
    from honcho.colour import get_colours  # noqa: PLC0415 - an extra: `herolocal[run]`

    colors: Iterator[str] = get_colours()
    return colors


class Screen:
    """Where the output of `up`, `logs` and `demo` goes. `events` tells what the stream said besides log lines."""

    def __init__(self, environment: Mapping[str, str], *, quiet: bool = False) -> None:
        terminal = sys.stdout.isatty()
        self.color = has_color(environment, terminal=terminal) and _has_parts()
        self._quiet = quiet
        self._busy: Busy = Spinner() if self.color and not quiet else Quiet()
        self._pending: dict[str, str] = {}
        self._rest = b""
        self._colors: dict[bytes, str] = {}
        self._palette = _palette() if self.color else iter(())

    # the stream -----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Json]:
        """Show the log lines of a piece of the stream, and the events in between; returns the events."""
        data = self._rest + data if self._rest else data
        whole, newline, self._rest = data.rpartition(b"\n")
        if not newline:
            return []
        if SEPARATOR not in whole and not self.color:
            self._write(whole + newline)
            return []
        return [event for line in whole.split(b"\n") if (event := self._one(line)) is not None]

    def _one(self, line: bytes) -> Json | None:
        if not line.startswith(SEPARATOR):
            self._write(self._colored(line) + b"\n")
            return None
        event: Json = json.loads(line[1:])
        if not self._quiet:
            self._show(event)
        return event

    def _colored(self, line: bytes) -> bytes:
        match = _LINE.match(line) if self.color else None
        if match is None:
            return line
        dyno = match[3]
        if dyno not in self._colors:
            self._colors[dyno] = next(self._palette)
        color = self._colors[dyno]
        text = match[4].decode("utf-8", "replace").encode()
        return b"\x1b[%sm%s\x1b[0m%s" % (color.encode(), match[1], text)

    def _write(self, data: bytes) -> None:
        self._busy.hide()
        try:
            _write_all(data)
        except (OSError, ValueError) as error:
            raise OutputClosed from error
        self._spin()

    def say(self, text: str) -> None:
        """One line for a person."""
        self._write(text.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._busy.hide()

    def _spin(self) -> None:
        if self._pending:
            width = shutil.get_terminal_size().columns - len("⠋ ") - 1
            self._busy.show(", ".join(self._pending.values())[:width])

    # events ---------------------------------------------------------------------------------------------------------

    def _show(self, event: Json) -> None:
        name = str(event["event"])
        if name in ("build-output", "shared-nothing"):
            self.say(f"       {event['text']}" if name == "build-output" else self._marked(f"  {event['text']}"))
            return
        shown: dict[str, Callable[[Json], None]] = {
            "app": self._app,
            "note": self._note,
            "step": self._step,
            "lost": self._lost,
            "error": self._rest_now,
            "end": self._rest_now,
        }
        if name in shown:
            shown[name](event)

    def _app(self, event: Json) -> None:
        git = f"  {event['branch'] or 'detached'} @ {event['commit'][:7]}" if event["commit"] else ""
        self.say(self._bold(event["name"]) + git + _uncommitted([*event["modified"], *event["untracked"]]))

    def _note(self, event: Json) -> None:
        warns = event["level"] == "warning"
        text = f"warning: {event['text']}" if warns else event["text"]
        self.say(self._marked(_indented(text)) if warns else self._dim(_indented(text)))

    def _step(self, event: Json) -> None:
        key = f"{event['step']} {event['name']}"
        if event["state"] in ("started", "progress"):
            self._pending[key] = f"{event['name']}: {event['detail'] or 'working'}"
            self._spin()
            return
        self._pending.pop(key, None)
        self._busy.hide()
        self.say(self._step_line(event))

    def _rest_now(self, _event: Json) -> None:
        """Nothing is under way any more."""
        self._pending.clear()
        self._busy.hide()

    def _step_line(self, event: Json) -> str:
        label = str({"addons": "add-ons", "dyno": event["name"]}.get(event["step"], event["step"]))
        name = "" if event["step"] in ("build", "dyno") else f"{event['name']:<31}"
        seconds = "" if event["seconds"] is None else f"{event['seconds']:.1f} s"
        ending = {"addons": f"ready in {seconds}", "dyno": f"up in {seconds}"}.get(event["step"], seconds)
        if event["result"] == "cached":
            ending = f"cached, {seconds}"
        if event["state"] == "failed":
            ending = self._marked("failed")
        result = "" if event["result"] == "cached" else event["result"]
        label = f"{label:<{_LABEL}}" if len(label) < _LABEL else f"{label}  "
        return f"  {label}{name}{event['detail']:<38}  {ending}  {result}".rstrip()

    def _lost(self, event: Json) -> None:
        for line in lost_lines(event["dyno"], event["losses"]):
            self.say(line)
        if event["hidden"]:
            self.say(self._dim(_indented(event["hidden"])))

    # looks ----------------------------------------------------------------------------------------------------------

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def _bold(self, text: str) -> str:
        return self._style("1", text)

    def _dim(self, text: str) -> str:
        return self._style("2", text)

    def _marked(self, text: str) -> str:
        return self._style("33", text)


def _uncommitted(paths: Sequence[str]) -> str:
    if not paths:
        return ""
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    files = "file" if len(paths) == 1 else "files"
    return f", {len(paths)} {files} not committed (would not be pushed): {shown}"


def _indented(text: str) -> str:
    return _wrapped(text, "  ", "    ")


def _wrapped(text: str, first: str, then: str) -> str:
    """Lines as wide as the terminal, the first and the others indented; no word is broken."""
    width = max(40, shutil.get_terminal_size((120, 24)).columns - 2)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=then, break_on_hyphens=False, break_long_words=False
    )


def size_text(size: int) -> str:
    """`24 KB`."""
    value = float(size)
    for unit in _UNITS:
        if value < _KILO or unit == _UNITS[-1]:
            break
        value /= _KILO
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def lost_lines(dyno: str, losses: Sequence[Json]) -> list[str]:
    """What one wipe took: real losses a line each, the rest in one."""
    real = [loss for loss in losses if loss["real"]]
    folded = len(losses) - len(real)
    lines = []
    if real:
        verb = "wrote" if all(loss["change"] == "created" for loss in real) else "wrote, changed or removed"
        files = "1 file that is" if len(real) == 1 else f"{len(real)} files that are"
        lines = ["", f"  {dyno} {verb} {files} gone now:", *(_loss_line(loss) for loss in real)]
    if folded:
        kinds = ", ".join(sorted({loss["kind"] for loss in losses if not loss["real"]}))
        head = f"    and {folded} that cost" if real else f"  {dyno} lost {folded} files that cost"
        lines.append(f"{head} nothing ({kinds})")
    return [*lines, ""] if real else lines


def _loss_line(loss: Json) -> str:
    path = _plain(loss["path"])
    change = "" if loss["change"] == "created" else f" ({loss['change']})"
    return f"    {path + change:<44} {size_text(loss['bytes']):>7}   {loss['kind']}   → {loss['advice']}"


def _plain(text: str) -> str:
    """A file name without control characters, which could otherwise drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


# tables and single texts ----------------------------------------------------------------------------------------------


def _write_all(data: bytes) -> None:
    """To standard output itself: a signal's handler may come in between, which Python's buffers do not bear."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def out(text: str) -> None:
    """One text on standard output."""
    with contextlib.suppress(OSError):
        print(text.encode("utf-8", "replace").decode(sys.stdout.encoding or "utf-8", "replace"), flush=True)


def json_out(value: object) -> None:
    """JSON for machines."""
    out(json.dumps(value, indent=2, ensure_ascii=False))


def raw_out(data: bytes) -> None:
    """Bytes as they are."""
    with contextlib.suppress(OSError):
        _write_all(data)


def err(text: str) -> None:
    """One text on standard error."""
    with contextlib.suppress(OSError, ValueError):
        print(text.encode("utf-8", "replace").decode("utf-8", "replace"), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """`Error: what was asked, what was found`, then what to do, wrapped."""
    first, *rest = f"Error: {text}".splitlines()
    err("\n".join([_wrapped(first, "", "  "), *(_wrapped(line.strip(), "  ", "  ") for line in rest)]))


def ps_lines(dynos: Sequence[Json], now: datetime) -> list[str]:
    """Dynos as Heroku's CLI lists them, grouped by type and command."""
    if not dynos:
        return ["No dynos are running."]
    lines: list[str] = []
    groups: dict[tuple[str, str, str], list[Json]] = {}
    for dyno in dynos:
        groups.setdefault((dyno["type"], dyno["size"], dyno["command"]), []).append(dyno)
    for (type_, size, command), members in groups.items():
        title = "run: one-off processes" if type_ == "run" else f"{type_} ({size}): {_plain(command)} ({len(members)})"
        lines += [f"=== {title}", "", *(_ps_line(dyno, now) for dyno in members), ""]
    return lines


def _ps_line(dyno: Json, now: datetime) -> str:
    at = datetime.fromisoformat(dyno["updated_at"].replace("Z", "+00:00"))
    since = at.strftime("%Y/%m/%d %H:%M:%S %z")
    return f"{dyno['name']}: {dyno['state']} {since} (~ {_ago((now - at).total_seconds())} ago)"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def now() -> datetime:
    """The time a table is shown at."""
    return datetime.now(UTC)


def leave_quietly() -> None:
    """Keep Python from complaining about a standard output that is closed."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_err(value: object) -> None:
    """JSON for machines, of what went wrong."""
    err(json.dumps(value))


def history_lines(losses: Sequence[Json]) -> list[str]:
    """The history of lost files, newest wipe first, one block for each wipe."""
    if not losses:
        return ["No dyno has lost a file yet."]
    wipes: dict[tuple[str, str], list[Json]] = {}
    for loss in losses:
        wipes.setdefault((loss["wiped_at"], loss["dyno"]), []).append(loss)
    lines: list[str] = []
    for (at, dyno), members in wipes.items():
        lines.append(f"{at}  {dyno}  v{members[0]['release']}  {members[0]['reason']}")
        real = [loss for loss in members if loss["real"]]
        lines += [_loss_line(loss) for loss in real]
        if len(members) > len(real):
            lines.append(f"    {len(members) - len(real)} more that cost nothing")
        lines.append("")
    return lines[:-1]
