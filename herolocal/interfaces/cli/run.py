"""`herolocal run`: meets a one-off dyno at the rendezvous, as the Heroku CLI does, and carries bytes both ways."""

import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from herolocal.errors import HerolocalError, PlatformUnreachable
from herolocal.interfaces.cli import render
from herolocal.interfaces.client.api import Client

GREETING = b"rendezvous\r\n"
END_OF_INPUT = b"\x04"
_CHUNK = 65536
_CONNECT_SECONDS = 10


def run_attached(client: Client, app: str, body: Mapping[str, Any]) -> int:
    """Run it here; the command's exit code."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not body["force_no_tty"]
    env = dict(body["env"])
    if terminal:
        size = shutil.get_terminal_size()
        env |= {"TERM": os.environ.get("TERM", "xterm"), "COLUMNS": str(size.columns), "LINES": str(size.lines)}
    dyno = client.call("POST", f"/apps/{quote(app)}/dynos", {**body, "env": env, "force_no_tty": not terminal})
    link = f"/_herolocal/apps/{quote(app)}/one-offs/{quote(dyno['name'])}"
    with (
        _meet(dyno["attach_url"], client.address.ca) as meeting,
        _raw(terminal=terminal),
        _window(client, link, terminal=terminal),
    ):
        _carry(meeting)
    return int(client.call("GET", link)["exit_status"])


@contextlib.contextmanager
def _meet(url: str, ca: str) -> Iterator[ssl.SSLSocket]:
    """The connection to the dyno, secret given, greeting read."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    try:
        plain = socket.create_connection(("127.0.0.1", parts.port or 0), timeout=_CONNECT_SECONDS)
        meeting = context.wrap_socket(plain, server_hostname="localhost")
        meeting.sendall(parts.path.removeprefix("/").encode() + b"\r\n")
        greeting = b""
        while len(greeting) < len(GREETING):
            piece = meeting.recv(len(GREETING) - len(greeting))
            if not piece:
                raise PlatformUnreachable("The dyno was not there. See `herolocal logs`.")
            greeting += piece
        meeting.settimeout(None)
    except OSError as error:
        raise PlatformUnreachable(f"Cannot attach to the one-off dyno: {error}.") from error
    try:
        yield meeting
    finally:
        meeting.close()


@contextlib.contextmanager
def _raw(*, terminal: bool) -> Iterator[None]:
    """Keys go to the dyno as they are; the terminal is given back whatever happens."""
    if not terminal:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _window(client: Client, link: str, *, terminal: bool) -> Iterator[None]:
    """The dyno's terminal follows the size of this one."""
    if not terminal:
        yield
        return

    def resized(_number: int, _frame: object) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        with contextlib.suppress(HerolocalError):
            client.call("POST", f"{link}/resize", {"columns": size.columns, "lines": size.lines})

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _carry(meeting: ssl.SSLSocket) -> None:
    """Until the dyno hangs up. The end of our input is told by one 0x04, as the Heroku CLI does."""
    stdin: int | None = sys.stdin.fileno()
    while True:
        if not meeting.pending():
            watched: list[Any] = [meeting] if stdin is None else [meeting, stdin]
            ready, _, _ = select.select(watched, [], [])
            if stdin is not None and stdin in ready:
                data = os.read(stdin, _CHUNK)
                stdin = stdin if data else None
                with contextlib.suppress(OSError):
                    meeting.sendall(data or END_OF_INPUT)
            if meeting not in ready:
                continue
        try:
            data = meeting.recv(_CHUNK)
        except (ssl.SSLError, OSError):
            return
        if not data:
            return
        render.raw_out(data)
