"""What an app tells those who watch its start: events, in order among its log lines."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from herolocal.contracts.clock import Clock
from herolocal.model.loss import Loss

# RFC 7464's record separator: no line of a log begins with it, since each begins with its time.
SEPARATOR = b"\x1e"


def loss_json(loss: Loss) -> dict[str, object]:
    """A loss as `herolocal lost --json` shows it."""
    return {
        "app": loss.app,
        "dyno": loss.dyno,
        "dyno_id": loss.dyno_id,
        "release": loss.release,
        "path": loss.path,
        "bytes": loss.size,
        "change": loss.change,
        "kind": str(loss.kind),
        "advice": loss.advice,
        "real": loss.is_real,
        "reason": loss.reason,
        "wiped_at": loss.wiped_at.isoformat().replace("+00:00", "Z"),
        "kept": bool(loss.kept),
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a start: an add-on, the build, the release, a dyno."""

    step: str
    name: str
    detail: str = ""
    result: str = ""


class News:
    """Posts events to the watchers of one app."""

    def __init__(self, post: Callable[[bytes], None], clock: Clock) -> None:
        self._post = post
        self._clock = clock

    def event(self, name: str, /, **members: object) -> None:
        """Any event; `members` must be JSON."""
        self._post(SEPARATOR + json.dumps({"event": name, **members}).encode() + b"\n")

    def note(self, text: str, *, warning: bool = False) -> None:
        """One line for a person."""
        self.event("note", level="warning" if warning else "info", text=text)

    def step(self, step: Step, state: str, since: float | None = None) -> None:
        """A step `started`, made `progress`, is `done` or `failed`; `since` is the monotonic time of its start."""
        seconds = None if since is None else round(self._clock.monotonic() - since, 3)
        members: Mapping[str, object] = {
            "step": step.step,
            "name": step.name,
            "detail": step.detail,
            "result": step.result,
        }
        self.event("step", state=state, seconds=seconds, **members)

    def lost(self, dyno: str, reason: str, losses: Sequence[Loss], hidden: str | None) -> None:
        """The files a dyno lost."""
        self.event("lost", dyno=dyno, reason=reason, losses=[loss_json(loss) for loss in losses], hidden=hidden)
