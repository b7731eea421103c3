"""Ports of the loopback interfaces: lent after a bind test, looked up in the kernel's tables (contracts.network)."""

import errno
import random
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from herolocal.adapters.backoff import until
from herolocal.contracts.network import Holder
from herolocal.errors import SpawnFailed

_TRIES = 2000
_LOWEST = 10000
_EPHEMERAL = 32768
_LISTEN = "0A"
_FIRST, _CEILING = 0.004, 0.02  # a port is looked at often: it stands between a person and the first answer


class Sockets:
    """Ports below the ephemeral range, so that no outgoing connection takes one meanwhile."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._lent: set[int] = set()
        self._top = _ephemeral_start()

    def lend(self) -> int:
        for _ in range(_TRIES):
            port = self._random.randrange(_LOWEST, self._top)
            if port not in self._lent and _is_free(port):
                self._lent.add(port)
                if len(self._lent) > (self._top - _LOWEST) // 2:
                    self._lent.clear()
                return port
        raise SpawnFailed(f"No port is free between {_LOWEST} and {self._top}. Stop programs that hold them.")

    def listeners(self, port: int) -> tuple[str, ...]:
        if sys.platform != "linux":
            return tuple(sorted({entry.laddr.ip for entry in psutil.net_connections("tcp") if _listens(entry, port)}))
        return tuple(sorted(_kernel_listeners(port)))

    def holder(self, port: int) -> Holder:
        try:
            for entry in psutil.net_connections("tcp"):
                if _listens(entry, port) and entry.pid:
                    return Holder(entry.pid, " ".join(psutil.Process(entry.pid).cmdline())[:80])
        except psutil.Error:
            pass
        return Holder(0, "")

    async def wait_until_bound(self, port: int) -> tuple[str, ...]:
        async def look() -> tuple[str, ...]:
            return self.listeners(port)

        return await until(look, first=_FIRST, ceiling=_CEILING)


def _listens(entry: Any, port: int) -> bool:
    return bool(entry.laddr) and entry.laddr.port == port and entry.status == psutil.CONN_LISTEN


def _ephemeral_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return _EPHEMERAL


def _is_free(port: int) -> bool:
    """Whether every address of the port can be bound."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("0.0.0.0", port))  # noqa: S104 - dynos bind it so, as Heroku demands
        if socket.has_ipv6:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(("::", port))
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # a kernel without IPv6; the other family was free
            return True
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise SpawnFailed(f"Cannot look for a free port: {error.strerror}.") from error
    return True


def _kernel_listeners(port: int) -> set[str]:
    """Addresses in state LISTEN at this port, from /proc/net/tcp and tcp6."""
    found = set()
    wanted = f":{port:04X}"
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and fields[1].endswith(wanted):
                found.add(_address(fields[1].partition(":")[0], family))
    return found


def _address(text: str, family: socket.AddressFamily) -> str:
    """The kernel writes addresses as 32-bit words in the machine's byte order."""
    words = (bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return socket.inet_ntop(family, b"".join(words))
