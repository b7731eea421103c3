"""The root of every dyno's process tree: starts the command, reaps orphans, signals all, lets nothing survive.

A script of the standard library alone, run as `python -S -I dyno_init.py SPEC-FD CONTROL-FD`. In namespace mode it
first makes the dyno's mounts and becomes PID 1 of a PID namespace; in copy mode it is a child subreaper. The platform
holds the other end of the control socket: a byte `T`, `K` or `H` asks for SIGTERM, SIGKILL or SIGHUP to every process;
end of file, which is the platform's end however it came, kills everything at once. The command's status is this
script's own.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios

TYPE_CHECKING = False  # typing itself would double the start-up time of every dyno
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Spec = dict[str, Any]

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
FAILED = 125  # what `env` and `timeout` say of themselves; the text goes to the dyno's output

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, value: int) -> None:
    """Linux only; without a subreaper (macOS, untested) what leaves its parent may be missed."""
    if sys.platform == "linux":
        libc.prctl(option, value, 0, 0, 0)


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    arguments = (value.encode() if value else None for value in (source, target, kind))
    check(libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {kind or target}")


# namespaces ---------------------------------------------------------------------------------------------------------


def unshare(spec: Spec) -> None:
    """Mounts, processes and host name of our own; without root by a user namespace, in which we are root."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | (CLONE_NEWUSER if uid else 0)
    check(libc.unshare(flags), "unshare")
    if uid:
        map_ids((0, uid), (0, gid))
    name = spec["hostname"].encode()
    check(libc.sethostname(name, len(name)), "sethostname")


def map_ids(uids: tuple[int, int], gids: tuple[int, int]) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", "%d %d 1" % uids), ("gid_map", "%d %d 1" % gids)):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def bind(path: str, root: str) -> None:
    """Show a directory or file of the machine at its own path below the new root."""
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "a"):
            pass
    mount(path, target, None, MS_BIND | MS_REC)


def read_only(path: str) -> None:
    """Recursively, so that no mount below stays writable."""
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    number = ctypes.c_long(SYS_MOUNT_SETATTR)
    result = libc.syscall(number, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes)))
    check(result, f"read-only {path}")


def make_root(spec: Spec) -> None:
    """The dyno's own root: the system read-only, /app an overlay, /tmp its own; homes and sockets are not there."""
    root = spec["root"]
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m")
    for path in ("/app", "/tmp", "/proc", "/old"):
        os.makedirs(root + path, exist_ok=True)
    mount(spec["tmp"], root + "/tmp", None, MS_BIND)  # first: what is visible may lie below it
    for path in spec["visible"]:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            bind(path, root)
            read_only(root + path)
    for path in spec["hidden"]:
        if os.path.isdir(root + path):
            mount("tmpfs", root + path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=755,size=4k")
    bind("/dev", root)
    mount("tmpfs", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    options = f"lowerdir={':'.join(spec['lower'])},upperdir={spec['upper']},workdir={spec['work']},userxattr"
    mount("overlay", root + "/app", "overlay", MS_NOSUID | MS_NODEV, options)
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV)
    os.chdir(root)
    number = ctypes.c_long(SYS_PIVOT_ROOT[os.uname().machine])
    check(libc.syscall(number, b".", b"old"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def drop(spec: Spec) -> None:
    """Become nobody in particular: an unused uid for root, uid 1000 of a nested user namespace for anyone else."""
    uid, gid = spec["uid"], spec["gid"]
    if spec["was_root"]:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    else:
        check(libc.unshare(CLONE_NEWUSER), "unshare")
        map_ids((uid, 0), (gid, 0))
    # With the uid the parent-death signal and dumpability went; /proc/self must stay readable for the dyno itself.
    check(libc.prctl(4, 1, 0, 0, 0), "prctl")


# the tree -----------------------------------------------------------------------------------------------------------


class Namespace:
    """All processes but ourselves are those of our PID namespace."""

    def signal_all(self, number: int) -> bool:
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return False
        return True


class Descendants:
    """All processes that descend from us, wherever their session or group went: we are their subreaper."""

    def signal_all(self, number: int) -> bool:
        seen: set[int] = set()
        while found := self.pids() - seen:
            for pid in found:
                seen.add(pid)
                try:
                    os.kill(pid, number)
                except (ProcessLookupError, PermissionError):
                    pass
        return bool(seen)

    @staticmethod
    def pids() -> set[int]:
        children: dict[int, set[int]] = {}
        for pid, parent in living():
            children.setdefault(parent, set()).add(pid)
        found: set[int] = set()
        todo = {os.getpid()}
        while todo:
            todo = set().union(*(children.get(pid, set()) for pid in todo)) - found
            found |= todo
        return found


def living() -> list[tuple[int, int]]:
    """Every process that is no zombie, with its parent."""
    if sys.platform != "linux":  # untested
        import subprocess  # noqa: PLC0415 - slow, and not for Linux

        lines = subprocess.check_output(["ps", "-axo", "pid=,ppid=,state="], text=True).splitlines()
        return [(int(pid), int(ppid)) for pid, ppid, state in map(str.split, lines) if state[0] != "Z"]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in b"ZX":
                found.append((int(name), int(fields[1])))
    return found


def reap(main: int) -> int | None:
    """Collect whatever has ended; the status of `main`, when it was among them."""
    status = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == main:
            status = os.waitstatus_to_exitcode(code)


def start(spec: Spec) -> int:
    """The command, as the leader of a session of its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        if spec["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.chdir(spec["app"])
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])
    except (OSError, ValueError) as error:  # a name or value that no environment can hold
        os.write(2, f"herolocal: cannot start {spec['argv'][0]}: {error}\n".encode("utf-8", "replace"))
    os._exit(FAILED)


def supervise(spec: Spec, control: int, tree: Namespace | Descendants) -> int:
    """Until the command has ended: reap, and pass signals on. Then nothing of the tree is left."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in ours:
        signal.signal(number, signal.SIG_IGN)
    # An order may wait already: blocked, its signal is not lost on the child that ignores signals as we do.
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    main = start(spec)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    status = reap(main)
    waiting = select.poll()  # select() knows no descriptor from 1024 on, and `control` has the platform's number
    waiting.register(wake_read, select.POLLIN)
    waiting.register(control, select.POLLIN)
    while status is None:
        ready = {descriptor for descriptor, _ in waiting.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
        if control in ready:
            obey(os.read(control, 64), tree)
        status = reap(main)
    while tree.signal_all(signal.SIGKILL):
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return status


def obey(orders: bytes, tree: Namespace | Descendants) -> None:
    """What the platform asks; its end asks for the end."""
    if not orders or b"K" in orders:
        while tree.signal_all(signal.SIGKILL):
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        os._exit(128 + signal.SIGKILL)
    for order, number in ((b"T", signal.SIGTERM), (b"H", signal.SIGHUP)):
        if order in orders:
            tree.signal_all(number)
            tree.signal_all(signal.SIGCONT)


def leave(status: int) -> NoReturn:
    """End with the command's own status, 128+n after signal n."""
    os._exit(status if status >= 0 else 128 - status)


def outer(pid: int, control: int) -> NoReturn:
    """The process outside of the PID namespace: it waits for PID 1 and passes its status on."""
    os.close(control)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    _, code = os.waitpid(pid, 0)
    leave(os.waitstatus_to_exitcode(code))


def in_namespaces(spec: Spec, control: int) -> Namespace:
    unshare(spec)
    pid = os.fork()
    if pid:
        outer(pid, control)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    make_root(spec)
    drop(spec)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return Namespace()


def main() -> None:
    spec_fd, control = int(sys.argv[1]), int(sys.argv[2])
    with open(spec_fd, "rb") as file:
        spec = json.load(file)
    os.set_inheritable(control, False)
    try:
        if spec["namespace"]:
            tree: Namespace | Descendants = in_namespaces(spec, control)
        else:
            tree = Descendants()
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        os.write(2, f"herolocal: cannot isolate this dyno: {error}\n".encode())
        os._exit(FAILED)
    leave(supervise(spec, control, tree))


main()
