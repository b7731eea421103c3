"""Places for the acceptance tests: a person, a home, a project, and nothing left of them afterwards."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.driver import Person, Place, me, prefix_of

MODES = ("copy", "namespace")
_ORDINARY = "herolocal-test"
_UNUSED_UID = 61234


def ordinary() -> Person:
    """A user who is not root: an account made for tests where there is one, else an unused uid."""
    if os.geteuid() != 0:
        return me()
    try:
        uid = pwd.getpwnam(_ORDINARY).pw_uid
    except KeyError:
        uid = _UNUSED_UID
    return Person("user", uid, tuple(prefix_of(uid)))


PEOPLE = (me(), ordinary()) if os.geteuid() == 0 else (me(),)


@contextmanager
def make_place(person: Person) -> Iterator[Place]:
    """A short path, since sockets below it have a limit of 108 bytes; open to the person, removed afterwards.

    Whatever the test did in it, no process and no mount may be left.
    """
    root = Path(tempfile.mkdtemp(prefix="hl-"))
    root.chmod(0o755)
    (root / "project").mkdir()
    if person.prefix:
        os.chown(root, person.uid, person.uid)
    place = Place(person, root)
    try:
        yield place
        place.wait_until_gone()
        assert place.mounts() == []
    finally:
        for process in place.processes():
            process.kill()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Place]:
    """A place of the user who runs the tests."""
    with make_place(me()) as made:
        yield made
