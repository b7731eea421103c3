"""Runs programs that refuse to be started by root, in directories that only root can reach."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from herolocal.errors import ServerFailed

ROOTS_SERVERS = 61001  # a uid that no distribution gives to anybody, and not that of the dynos
_PROBE_SECONDS = 10
_PROBE = 'test -x "$0" && : >"$1/probe" && rm "$1/probe"'


@dataclass(frozen=True, slots=True)
class Guise:
    """What stands before the program's own words. `setup` is for programs that want a name for their uid.

    The data must belong to the owner that goes with it; None leaves it as it is.
    """

    setup: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    setup_owner: int | None = None
    server_owner: int | None = None


def ordinary() -> Guise:
    """As we are; the process gets a parent-death signal where setpriv knows how."""
    return Guise((), _mortal())


def guise(program: Path, directory: Path) -> Guise:
    """How `program` can run, and write in `directory`, as if by an ordinary user; raises ServerFailed.

    Root first tries a user namespace in which it has another number: files keep their owner and no privilege is
    left. Where the kernel or a container's profile refuses that, it becomes another user who may pass all doors
    (CAP_DAC_OVERRIDE), and the data is given to that user.
    """
    if os.geteuid() != 0:
        return ordinary()
    named = _named_user()
    for candidate in (_namespace(named), _capability(named)):
        own(directory, candidate.setup_owner)
        if _works((*candidate.setup, "sh", "-c", _PROBE, str(program), str(directory))):
            return candidate
    raise ServerFailed(
        f"{program.name} does not run as root, and this machine allows neither user namespaces (unshare -U) nor a "
        "change of user with setpriv. Run herolocal as an ordinary user, or with --addons docker."
    )


def own(directory: Path, uid: int | None) -> None:
    """Give a tree to `uid`, unless its top belongs to it already."""
    if uid is None or directory.stat().st_uid == uid:
        return
    for top, directories, files in os.walk(directory, topdown=False):
        for name in (*directories, *files):
            os.chown(Path(top) / name, uid, uid, follow_symlinks=False)
    os.chown(directory, uid, uid)


def _namespace(named: int) -> Guise:
    prefix = ("unshare", "-U", f"--map-user={named}", f"--map-group={named}", *_mortal())
    return Guise(prefix, prefix, 0, 0)


def _capability(named: int) -> Guise:
    def prefix(uid: int) -> tuple[str, ...]:
        only = "-all,+dac_override"
        user = (f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--inh-caps={only}", f"--ambient-caps={only}")
        # access(2), by which initdb looks for its programs, forgets capabilities without this bit (capabilities(7)).
        bits = "--securebits=+no_setuid_fixup"
        return ("setpriv", *user, f"--bounding-set={only}", bits, "--pdeathsig", "KILL", "--")

    return Guise(prefix(named), prefix(ROOTS_SERVERS), named, ROOTS_SERVERS)


def _named_user() -> int:
    """A uid other than root's that has a name: initdb looks its own up."""
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid}
    return known.get("nobody") or min(known.values(), default=ROOTS_SERVERS)


def _mortal() -> tuple[str, ...]:
    """The keeper kills every descendant of the platform; this is for those who run without one."""
    program = ("setpriv", "--pdeathsig", "KILL", "--")
    return program if shutil.which("setpriv") and _works((*program, "true")) else ()


def _works(argv: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run(argv, check=False, capture_output=True, timeout=_PROBE_SECONDS, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
