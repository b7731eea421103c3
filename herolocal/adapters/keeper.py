"""Keeps nothing alive and lets nothing survive: the platform's parent, which kills every descendant when it ends.

A script of the standard library alone: `python -S -I keeper.py -- COMMAND…`. It is a child subreaper, so that
whatever a dyno or a server detached becomes its child; when the command has ended, however it came, each of them gets
SIGKILL. The command carries a parent-death signal on the keeper. Where there is no subreaper (macOS, untested) it kills
the command's process group only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants() -> set[int]:
    """Every process that descends from this one, from the kernel's table."""
    children: dict[int, set[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in b"ZX":
                children.setdefault(int(fields[1]), set()).add(int(name))
    found: set[int] = set()
    todo = {os.getpid()}
    while todo:
        todo = set().union(*(children.get(pid, set()) for pid in todo)) - found
        found |= todo
    return found


def sweep() -> None:
    """SIGKILL until no descendant is left."""
    while left := descendants():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            pass


def start(command: list[str]) -> int:
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        os.execvp(command[0], command)
    return pid


def main() -> None:
    command = sys.argv[sys.argv.index("--") + 1 :]
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    pid = start(command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(pid, received))
    os.closerange(3, 256)
    while True:
        ended, code = os.wait()
        if ended == pid:
            break
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        sweep()
    status = os.waitstatus_to_exitcode(code)
    sys.exit(status if status >= 0 else 128 - status)


main()
