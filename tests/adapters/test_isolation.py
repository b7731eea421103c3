"""One contract, two ways to keep it: what a dyno can do, what it cannot, and what is left of it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from herolocal.adapters.copies import CopyIsolation
from herolocal.adapters.namespaces import NamespaceIsolation, dyno_owner
from herolocal.contracts.process import Launch, RunningProcess, Terminal
from herolocal.contracts.workspace import SlugTree

MODES = [
    pytest.param("copy"),
    pytest.param("namespace", marks=pytest.mark.namespace),
]


class Output:
    """What a process has written so far."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._more = asyncio.Event()

    def append(self, data: bytes) -> None:
        """Take what the process wrote."""
        self._written += data
        self._more.set()

    async def wait_for(self, text: bytes) -> None:
        """Until it was written."""
        async with asyncio.timeout(30):
            while text not in self._written:
                self._more.clear()
                await self._more.wait()

    @property
    def text(self) -> str:
        return self._written.decode("utf-8", "replace")


@dataclass
class Ran:
    """What came of one command."""

    status: int
    output: str
    changes: dict[str, str]


@dataclass
class Machine:
    """One way of isolation on a home of its own, with a slug of three files and a layer."""

    home: Path
    isolation: CopyIsolation | NamespaceIsolation

    def tree(self) -> SlugTree:
        slug, layer = self.home / "slug", self.home / "layer"
        if not slug.exists():
            for path, text in {"a.txt": "a", "dir/b.txt": "b", "dir/c.txt": "c", "empty": ""}.items():
                (slug / path).parent.mkdir(parents=True, exist_ok=True)
                (slug / path).write_text(text)
            (slug / "link").symlink_to("dir")
            (layer / ".heroku" / "tool").mkdir(parents=True)
            (layer / ".heroku" / "tool" / "x").write_text("tool")
            (layer / ".profile.d").mkdir()
            (layer / ".profile.d" / "x.sh").write_text("export FROM_PROFILE=yes\n")
            if owner := dyno_owner():
                for entry in (slug, *slug.rglob("*")):
                    os.chown(entry, *owner, follow_symlinks=False)
        return SlugTree(slug, (layer,))

    async def start(
        self, command: str, output: Output, *, terminal: Terminal | None = None, interactive: bool = False
    ) -> tuple[RunningProcess, Launch]:
        workspace = await self.isolation.fill("dyno", self.tree())
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GREETING": "hello"}
        launch = Launch("dyno", "web.1", command, environment, workspace, terminal, interactive)
        return await self.isolation.spawn(launch, output.append), launch

    def run(self, command: str, *, terminal: Terminal | None = None) -> Ran:
        """To the end, compared and wiped."""

        async def go() -> Ran:
            output = Output()
            process, launch = await self.start(command, output, terminal=terminal)
            async with asyncio.timeout(30):
                status = await process.wait()
            changes = await self.isolation.changes(launch.workspace)
            await self.isolation.wipe(launch.workspace)
            return Ran(status, output.text, {change.path: str(change.kind) for change in changes})

        return asyncio.run(go())


@pytest.fixture(params=MODES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="hl-"))
    made = NamespaceIsolation(home) if request.param == "namespace" else CopyIsolation(home)
    yield Machine(home, made)
    assert list((home / "scratch").glob("*")) == []
    assert str(home) not in Path("/proc/self/mountinfo").read_text()
    shutil.rmtree(home)


STATUSES = {
    "exit 0": 0,
    "exit 3": 3,
    "nosuchcommand": 127,
    "kill -TERM $$": 143,
    "kill -KILL $$": 137,
    "a=1; false || (exit 4)": 4,
}


@pytest.mark.parametrize("command", STATUSES)
def test_the_status_is_the_commands_own(command: str, machine: Machine) -> None:
    assert machine.run(command).status == STATUSES[command]


def test_the_text_of_the_procfile_is_run_by_bash_as_it_is(machine: Machine) -> None:
    ran = machine.run("""echo "$GREETING  'x'" && echo a; echo b >&2; [[ $HOME == $PWD ]] && echo home $FROM_PROFILE""")
    assert ran.output == "hello  'x'\na\nb\nhome yes\n"


def test_output_and_errors_keep_their_order_and_can_be_opened_by_name(machine: Machine) -> None:
    ran = machine.run("for i in 1 2 3; do echo out$i; echo err$i >&2; done; echo x > /dev/stdout; echo y > /dev/stderr")
    assert ran.output == "out1\nerr1\nout2\nerr2\nout3\nerr3\nx\ny\n"


def test_a_megabyte_without_a_newline_arrives_whole(machine: Machine) -> None:
    assert len(machine.run("head -c 1000000 /dev/zero | tr '\\0' x").output) == 1_000_000


def test_what_was_written_changed_and_removed_is_found(machine: Machine) -> None:
    ran = machine.run(
        "echo 1 > new.txt; mkdir -p x/y; echo 2 > x/y/z; echo more >> a.txt; rm dir/b.txt; touch dir/c.txt; cat a.txt"
    )
    changes = {path: kind for path, kind in ran.changes.items() if path != "dir/c.txt"}  # touched, not changed
    assert changes == {"new.txt": "created", "x/y/z": "created", "a.txt": "modified", "dir/b.txt": "deleted"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("rm -r dir", {"dir/b.txt": "deleted", "dir/c.txt": "deleted"}),
        ("rm -r dir; mkdir dir; echo x > dir/b.txt", {"dir/b.txt": "modified", "dir/c.txt": "deleted"}),
        ("rm -r dir; echo x > dir", {"dir": "created", "dir/b.txt": "deleted", "dir/c.txt": "deleted"}),
        ("mv dir moved", dict.fromkeys(("moved/b.txt", "moved/c.txt"), "created")
            | dict.fromkeys(("dir/b.txt", "dir/c.txt"), "deleted")),
        ("rm a.txt; mkdir a.txt; echo x > a.txt/b", {"a.txt": "deleted", "a.txt/b": "created"}),
        ("rm a.txt; ln -s dir a.txt", {"a.txt": "modified"}),
        ("rm empty; mkfifo empty", {"empty": "deleted"}),
        ("rm link; cp -r dir link", {"link": "deleted", "link/b.txt": "created", "link/c.txt": "created"}),
    ],
)  # fmt: skip
def test_files_of_directories_that_went_or_came_anew_are_found(
    command: str, expected: dict[str, str], machine: Machine
) -> None:
    assert machine.run(command).changes == expected


def test_each_life_starts_from_the_slug(machine: Machine) -> None:
    machine.run("rm -rf dir a.txt; echo x > y")
    assert (
        machine.run("find . -type f -not -path './.*' | sort; cat .heroku/tool/x").output
        == "./a.txt\n./dir/b.txt\n./dir/c.txt\n./empty\ntool"
    )
    assert (machine.home / "slug" / "a.txt").read_text() == "a"


def test_a_file_in_tmpdir_is_found_and_wiped(machine: Machine) -> None:
    ran = machine.run('echo 1 > "${TMPDIR:-/tmp}/t"')
    assert ran.changes == {"/tmp/t": "created"}


def test_whatever_modes_its_files_have_a_workspace_is_wiped(machine: Machine) -> None:
    assert machine.run("mkdir -p p/q; echo 1 > p/q/r; chmod 000 p/q p; mkdir s; chmod 500 s").status == 0


SURVIVORS = {
    "deaf child": "(trap '' TERM HUP INT; sleep 300) &",
    "setsid": "setsid sleep 300 &",
    "nohup": "nohup sleep 300 &",
    "daemon": "(setsid setsid sleep 300 </dev/null >/dev/null 2>&1 &)",
    "holds the pipe": "setsid bash -c 'trap \"\" TERM; sleep 300; sleep 300' &",
    "fifty": "for i in $(seq 50); do sleep 300 & done",
}


@pytest.mark.parametrize("command", SURVIVORS.values(), ids=SURVIVORS)
def test_nothing_of_the_tree_survives_the_end_of_its_command(command: str, machine: Machine) -> None:
    mark = machine.home.name
    assert machine.run(f"export MARK={mark}; {command}\nsleep 0.2; exit 5").status == 5
    assert marked(mark) == []


def marked(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MARK={mark}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_sigterm_reaches_every_process_and_sigkill_ends_the_deaf(machine: Machine) -> None:
    async def go() -> tuple[int, str]:
        output = Output()
        child = "(trap 'echo child' TERM; echo one; sleep 300 & wait)"
        command = f"{child} & trap 'echo parent' TERM; echo two; wait; wait; exit 6"
        process, launch = await machine.start(command, output)
        await output.wait_for(b"one")
        await output.wait_for(b"two")
        async with asyncio.timeout(30):
            process.terminate()
            status = await process.wait()
        await machine.isolation.wipe(launch.workspace)
        return status, output.text

    status, output = asyncio.run(go())
    assert status == 6
    assert sorted(output.split()) == ["child", "one", "parent", "two"]

    async def deaf() -> int:
        output = Output()
        process, launch = await machine.start("trap '' TERM; echo ready; while true; do sleep 1; done", output)
        await output.wait_for(b"ready")
        async with asyncio.timeout(30):
            process.terminate()
            process.kill()
            status = await process.wait()
        await machine.isolation.wipe(launch.workspace)
        return status

    assert asyncio.run(deaf()) == 137


def test_sigterm_at_the_very_start_is_not_lost(machine: Machine) -> None:
    """It may come before the command was started at all; a stop during a boot must not last 30 seconds."""

    async def go() -> set[int]:
        statuses = set()
        for _ in range(10):
            process, launch = await machine.start("sleep 600", Output())
            process.terminate()
            async with asyncio.timeout(10):
                statuses.add(await process.wait())
            await machine.isolation.wipe(launch.workspace)
        return statuses

    assert asyncio.run(go()) == {143}


def test_a_terminal_is_one_and_follows_the_window(machine: Machine) -> None:
    ran = machine.run("tty; stty size", terminal=Terminal(100, 30))
    assert ran.output.startswith("/dev/pts/")
    assert ran.output.endswith("30 100\r\n")

    async def resized() -> str:
        output = Output()
        process, launch = await machine.start("read line; stty size", output, terminal=Terminal(80, 24))
        assert process.input is not None
        process.input.resize(132, 50)
        await process.input.write(b"go\n")
        async with asyncio.timeout(30):
            await process.wait()
        await machine.isolation.wipe(launch.workspace)
        return output.text

    assert asyncio.run(resized()).endswith("50 132\r\n")


def test_standard_input_is_a_pipe_when_asked_for_and_empty_otherwise(machine: Machine) -> None:
    assert machine.run("cat; echo end").output == "end\n"

    async def fed() -> str:
        output = Output()
        process, launch = await machine.start("wc -c", output, interactive=True)
        assert process.input is not None
        await process.input.write(b"x" * 200_000)
        process.input.close()
        async with asyncio.timeout(30):
            await process.wait()
        await machine.isolation.wipe(launch.workspace)
        return output.text.strip()

    assert asyncio.run(fed()) == "200000"


# Where the machine lets anybody have any port, as engines do in their containers, a dyno has it too.
FIRST_OPEN_PORT = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
HOSTILE = {
    "homes are not there": ("ls -A /root /home 2>&1 | grep -c 'No such file'", "2"),
    "the system is read-only": ("touch /usr/x /etc/x 2>&1 | grep -c cannot", "2"),
    "no low port": (
        "python3 -c 'import socket; socket.socket().bind((\"0.0.0.0\", 81))' 2>&1 | grep -c Permission",
        str(int(FIRST_OPEN_PORT > 81)),
    ),
    "no process but its own": ("ls -d /proc/[0-9]* | wc -l | awk '{print ($1 < 8)}'", "1"),
    "not root": ("id -u | awk '{print ($1 > 0)}'", "1"),
    "no engine": ("ls /run/docker.sock /var/run/docker.sock 2>&1 | grep -c 'No such file'", "2"),
    "no mounting": ("mount -t tmpfs x /tmp 2>&1 | grep -c -e denied -e permitted -e superuser", "1"),
    "no unmounting": ("umount /app 2>&1 | grep -c -e superuser -e permitted -e 'not mounted'", "1"),
    "the scratch of others": (f"ls {tempfile.gettempdir()} | wc -l", "0"),
    "writable home and tmp": ("echo x > /app/w && echo x > /tmp/w && echo 1", "1"),
    "rename and remove of slug files": ("mv a.txt z && rm -r dir && mkdir dir && ls", "dir\nempty\nlink\nz"),
}


@pytest.mark.namespace
@pytest.mark.parametrize(("command", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_app_in_a_namespace_finds_nothing(command: str, expected: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="hl-"))
    try:
        assert Machine(home, NamespaceIsolation(home)).run(command).output.strip() == expected
    finally:
        shutil.rmtree(home)


def test_copy_mode_says_what_it_cannot_hide_and_namespace_mode_hides_it() -> None:
    home = Path(tempfile.mkdtemp(prefix="hl-"))
    try:
        assert "neither listed nor removed" in (CopyIsolation(home).hidden_losses or "")
        assert NamespaceIsolation(home).hidden_losses is None
        assert Machine(home, CopyIsolation(home)).run("pwd").output.strip() == str(home / "scratch" / "dyno" / "app")
    finally:
        shutil.rmtree(home)
