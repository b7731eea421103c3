"""Listening sockets on both loopback addresses of one port, so that `localhost` never shows another program."""

import errno
import socket
from collections.abc import Sequence

from herolocal.contracts.network import Holder, Ports
from herolocal.errors import PortTaken

_BACKLOG = 1024
_TRIES = 200


class Listeners:
    """Binds ports for servers of ours; `ports` tells who holds one that is taken."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def bind(self, port: int) -> tuple[socket.socket, ...]:
        """127.0.0.1 and, where the machine has it, ::1; raises PortTaken naming the holder."""
        sockets: list[socket.socket] = []
        for family, address in _loopbacks():
            sock = _listen(family, address, port)
            if sock is None:
                close(sockets)
                raise PortTaken(self._taken(port))
            port = sock.getsockname()[1]
            sockets.append(sock)
        return tuple(sockets)

    def bind_from(self, first: int) -> tuple[tuple[socket.socket, ...], str | None]:
        """The first free port from `first` on, and who holds `first` when it was not that one."""
        note = None
        for port in range(first, first + _TRIES):
            try:
                return self.bind(port), note
            except PortTaken as error:
                note = note or str(error).partition(". ")[0]
        raise PortTaken(f"No port is free between {first} and {first + _TRIES}. Name one with -p PORT.")

    def _taken(self, port: int) -> str:
        holder = self._ports.holder(port)
        return f"Port {port} is taken{_by(holder)}. Stop that program, or name another port with -p PORT."


def _loopbacks() -> tuple[tuple[socket.AddressFamily, str], ...]:
    """The loopback addresses this machine has."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ((socket.AF_INET, "127.0.0.1"),)
    return (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")


def _by(holder: Holder) -> str:
    return f" by {holder.command} (process {holder.pid})" if holder.pid else " by another program"


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    """A non-blocking listening socket, None when the port is taken."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise PortTaken(f"Cannot listen on port {port}: {error.strerror}. Name another port with -p PORT.") from error
    return sock


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for sock in sockets:
        sock.close()
