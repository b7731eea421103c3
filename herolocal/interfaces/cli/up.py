"""`herolocal up`: asks the platform to run this directory, shows its log, and holds the lease until told to end."""

import signal
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from herolocal.errors import HerolocalError, UsageError
from herolocal.interfaces.cli import render
from herolocal.interfaces.client.api import Client
from herolocal.interfaces.client.launcher import Started, find_or_start, home_of

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
_OUTPUT_CLOSED = 141
_TIMED_OUT = 1


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long `up` stays: until the app ends, or with `detach` until it has started or, with `wait`, is ready."""

    detach: bool = False
    wait: bool = False
    timeout: float = 300.0
    quiet: bool = False


def request(directory: Path, options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, object]:
    """The body of `POST /_herolocal/up`."""
    files = list(options["env"]) or ([".env"] if (directory / ".env").is_file() else [])
    return {
        "id": str(uuid.uuid4()),
        "directory": str(directory),
        "types": list(options["types"]),
        "procfile": options["procfile"],
        "env_files": files,
        "port": options["port"],
        "formation": options["formation"],
        "fresh": options["fresh"],
        "addons": options["addons"],
        "addon_tls": options["addon_tls"] == "on",
        "isolation": options["isolation"],
        "build": not options["no_build"],
        "python_any": options["python_any"],
        "detach": options["detach"],
        "caller": dict(environment),
    }


def up(directory: Path, options: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """Run it; the exit code."""
    body = request(directory, options, environment)
    waiting = Waiting(options["detach"], options["wait"], options["timeout"], options["quiet"])
    home = home_of(environment)
    watch = Watch(home, str(directory), waiting, render.Screen(environment, quiet=waiting.quiet))
    watch.take_signals()
    found = find_or_start(home, environment, body)
    address = found.address if isinstance(found, Started) else found
    watch.connect(Client(address))
    try:
        with watch.client.stream("POST", "/_herolocal/up", body) as stream:
            watch.begun()
            if isinstance(found, Started):
                found.let_go()
            return watch.follow(stream)
    finally:
        watch.screen.close()


class Watch:
    """What one `up` has seen and was told."""

    def __init__(self, home: Path, directory: str, waiting: Waiting, screen: render.Screen) -> None:
        self.screen = screen
        self._home = home
        self._directory = directory
        self._waiting = waiting
        self._client: Client | None = None
        self._asked: list[int] = []
        self._status: int | None = None
        self._failure: str | None = None
        self._phase = "start"
        self._reached = ""
        self._late_phase: str | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            raise UsageError("The platform is not connected yet.")
        return self._client

    # ends that somebody asks for ------------------------------------------------------------------------------------

    def take_signals(self) -> None:
        """From now on a signal means: stop the app, then end."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def connect(self, client: Client) -> None:
        """The platform is there."""
        self._client = client
        if self._waiting.wait:
            timer = threading.Timer(self._waiting.timeout, self._time_out)
            timer.daemon = True
            timer.start()

    def begun(self) -> None:
        """The app is there; a signal that came while it was not is carried out now."""
        if self._asked:
            self._stop()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        code = SIGNALS[signal.Signals(number)]
        if self._client is None:  # a platform that is just starting ends with its lease
            raise SystemExit(code)
        self._asked.append(code)
        self._stop()

    def _stop(self) -> None:
        """Ask on another connection, while this one goes on reading what the app says to the end."""
        kill = len(self._asked) > 1
        try:
            if not kill:
                self.screen.say("\n  Stopping: SIGTERM, up to 30 s. Ctrl-C again kills.")
        except render.OutputClosed:
            pass
        threading.Thread(target=self._ask_to_stop, args=(kill,), daemon=True).start()

    def _ask_to_stop(self, kill: bool) -> None:  # noqa: FBT001 - a thread's argument
        try:
            for app in self.client.apps(self._directory):
                if app["running"]:
                    self.client.stop(app["name"], kill=kill)
        except HerolocalError:
            return  # it has ended already

    def _time_out(self) -> None:
        if self._phase not in ("ready", "end"):
            self._late_phase = self._phase
            self._ask_to_stop(kill=False)

    # the stream -----------------------------------------------------------------------------------------------------

    def follow(self, stream: Any) -> int:
        """Show what comes until the end, or until a detached start is far enough."""
        for data in stream:
            try:
                events = self.screen.feed(data)
            except render.OutputClosed:
                self._output_closed()
                break
            for event in events:
                self._take(event)
            if self._is_far_enough():
                return 0
        if not self._asked and self._status is None:
            for _ in stream:
                pass
        return self._code()

    def _output_closed(self) -> None:
        """Nobody reads any more: end like a closed terminal does, in silence."""
        render.leave_quietly()
        if not self._asked:
            self._asked.append(_OUTPUT_CLOSED)
        self._ask_to_stop(kill=False)
        self._status = 0

    def _take(self, event: Mapping[str, Any]) -> None:
        name = event["event"]
        if name == "step" and event["state"] in ("started", "progress"):
            self._phase = {"addons": "add-ons", "dyno": "boot"}.get(event["step"], event["step"])
        elif name in ("started", "ready"):
            self._phase = "boot" if name == "started" else "ready"
            self._reached = name
        elif name == "error":
            self._failure = event["message"]
        elif name == "end":
            self._phase, self._status = "end", event["status"]

    def _is_far_enough(self) -> bool:
        if not self._waiting.detach or self._status is not None:
            return False
        return self._reached == "ready" if self._waiting.wait else self._reached in ("started", "ready")

    def _code(self) -> int:
        if self._failure is not None:
            render.error(self._failure)
            return self._status or _TIMED_OUT
        if self._late_phase is not None:
            render.error(
                f"Not ready within {self._waiting.timeout:g} s: it was still in the phase `{self._late_phase}`. "
                "See the lines above, or give it more time with --timeout."
            )
            return _TIMED_OUT
        if self._asked:
            return self._asked[0]
        if self._status is None:
            render.error(
                "The platform ended unexpectedly, and everything it ran was killed with it; add-on data is kept. "
                f"Its own log is {self._home}/platform.log."
            )
            return 1
        return self._status


def project_directory() -> Path:
    """Where the person is; raises UsageError when that directory was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("The current directory does not exist any more. Change into another one.") from error
