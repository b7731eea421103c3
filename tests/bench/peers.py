"""The runners that are measured: how each is started on a directory."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HEROKU = "heroku@11.10.0"


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` gets the port at its end; `port_of` says whether the app's own port is that one or a router's."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def arguments(self, port: int) -> list[str]:
        """The argument vector for this port."""
        return [part.replace("PORT", str(port)) for part in self.command]


def peers(*, with_heroku: bool) -> list[Peer]:
    """herolocal, honcho and, where npm is there, the Heroku CLI."""
    root = str(Path(__file__).parents[2])
    up = ("up", "--addons", "none", "--no-build", "--isolation", "auto", "-p", "PORT")
    found = [
        Peer("herolocal", (sys.executable, "-m", "herolocal", *up), {"PYTHONPATH": root}),
        Peer("honcho", (sys.executable, "-m", "honcho", "start", "-p", "PORT")),
    ]
    if with_heroku and (program := _heroku()):
        found.append(Peer("heroku local", (program, "local", "-p", "PORT"), {"DISABLE_TELEMETRY": "true"}))
    return found


def _heroku() -> str | None:
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("npm is not installed, so `heroku local` is left out.\n")
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "herolocal-bench"
    program = cache / "node_modules" / ".bin" / "heroku"
    if not program.exists():
        sys.stderr.write(f"Installing {HEROKU} for the comparison…\n")
        command = [npm, "install", "--silent", "--no-save", "--prefix", str(cache), HEROKU]
        subprocess.run(command, check=True, capture_output=True)
    return str(program)
