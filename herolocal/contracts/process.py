"""What a dyno asks of the machine: start a process tree, follow its output, signal all of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from herolocal.contracts.workspace import Workspace

OnOutput = Callable[[bytes], None]
"""Receives output as it was read, in chunks of at most 64 KiB, never cut into lines."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The size of a pseudo-terminal, in characters, and its TERM."""

    columns: int = 80
    lines: int = 24
    term: str = "xterm"


@dataclass(frozen=True, slots=True)
class Launch:
    """What one dyno runs. `command` is the text of the Procfile, given to `bash` as it is.

    `.profile.d/*.sh` and then `$HOME/.profile` are sourced first, by the same shell
    (https://devcenter.heroku.com/articles/dyno-startup-behavior). HOME and the working directory are the
    workspace's app directory; `environment` holds all else, nothing is inherited. With `terminal` the
    dyno gets a pseudo-terminal; with `interactive` and no terminal its standard input is a pipe; else
    standard input is /dev/null. Standard output and standard error are one pipe, so their order is kept.
    """

    dyno_id: str
    name: str
    command: str
    environment: Mapping[str, str]
    workspace: Workspace
    terminal: Terminal | None = None
    interactive: bool = False

    def __post_init__(self) -> None:
        if not self.command.strip():
            raise ValueError("a dyno cannot run an empty command")


class RunningProcess(Protocol):
    """A started process tree. It ends by itself, by `terminate` or by `kill`; nothing of it survives `wait`."""

    @property
    def pid(self) -> int:
        """The host's process id of the tree's root."""
        ...

    async def wait(self) -> int:
        """The exit status, 128+n after signal n. All output was delivered before this returns.

        When the command has ended, whatever else is left of the tree is killed. A process that holds the
        output open delays this by one second at most.
        """
        ...

    def terminate(self) -> None:
        """SIGTERM to every process of the tree."""
        ...

    def kill(self) -> None:
        """SIGKILL to every process of the tree, those that left its session or group too."""
        ...

    @property
    def input(self) -> "ProcessInput | None":
        """Standard input, when the launch asked for one."""
        ...


class ProcessInput(Protocol):
    """The way into an interactive process."""

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the process does not read. After its end this does nothing."""
        ...

    def close(self) -> None:
        """End of input: EOF on a pipe, Ctrl-D (0x04) on a terminal."""
        ...

    def resize(self, columns: int, lines: int) -> None:
        """New window size; no effect on a pipe."""
        ...

    def hold_output(self, *, on: bool) -> None:
        """Read no more output for now, or again; the process waits once its pipe is full. Its end reads the rest."""
        ...

    def hang_up(self) -> None:
        """SIGHUP to every process: the client's connection is gone (R16)."""
        ...


class ProcessRunner(Protocol):
    """Starts dynos in one way of isolation."""

    async def spawn(self, launch: Launch, on_output: OnOutput) -> RunningProcess:
        """Start it; raises SpawnFailed. A command that does not exist is not an error here: bash says 127."""
        ...
