"""What herolocal asks of the machine's ports: lend a free one, tell who listens."""

import socket
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port; `pid` is 0 and `command` empty when the machine does not tell."""

    pid: int
    command: str


class Ports(Protocol):
    """The ports of the loopback interfaces."""

    def lend(self) -> int:
        """A bind-tested port below the ephemeral range, not lent before while it was still free; raises SpawnFailed."""
        ...

    def listeners(self, port: int) -> tuple[str, ...]:
        """The addresses on which something listens at this port (`0.0.0.0`, `127.0.0.1`, `::`)."""
        ...

    def holder(self, port: int) -> Holder:
        """Who listens there."""
        ...

    async def wait_until_bound(self, port: int) -> tuple[str, ...]:
        """Return once something listens there, with its addresses; cancel it to give up."""
        ...


class Listeners(Protocol):
    """Binds ports for servers of ours, on every loopback address."""

    def bind(self, port: int) -> tuple[socket.socket, ...]:
        """Listening, non-blocking sockets; port 0 lets the machine choose. Raises PortTaken naming the holder."""
        ...

    def bind_from(self, first: int) -> tuple[tuple[socket.socket, ...], str | None]:
        """The first free port from `first` on, and who holds `first` when it was not that one."""
        ...
