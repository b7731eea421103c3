"""Asks a server in its own protocol whether it is ready, with a client of a few lines for each."""

import asyncio
import base64
import contextlib
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from herolocal.adapters.backoff import until
from herolocal.contracts.server import Credentials
from herolocal.model.catalog import Readiness
from herolocal.wire import postgresql

_ANSWER_SECONDS = 5.0  # one attempt; a server that hangs is asked again
_CANNOT_CONNECT_NOW = "57P03"
_TOO_MANY = "53300"


class Answer(Enum):
    """A server that speaks: it let us in, or it does not know these credentials."""

    READY = auto()
    DENIED = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and as who; `tls` None asks without TLS."""

    host: str
    port: int
    credentials: Credentials
    tls: ssl.SSLContext | None = None


Check = Callable[[Target], Awaitable[Answer | None]]


# Not there yet, or gone in the middle of a sentence.
_NOT_YET = (OSError, EOFError, TimeoutError, ValueError, KeyError, struct.error)


async def wait(readiness: Readiness, target: Target) -> Answer:
    """Ask until the server answers; the caller sets the time limit. What looks like a wrong password is an answer."""
    check = CHECKS[readiness]

    async def ask() -> Answer | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await check(target)
        except _NOT_YET:
            return None

    return await until(ask)


@contextlib.asynccontextmanager
async def _connection(
    target: Target, tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=tls, server_hostname=target.host if tls else None
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# PostgreSQL -----------------------------------------------------------------------------------------------------------


async def _postgresql(target: Target) -> Answer | None:
    async with _connection(target, None) as (reader, writer):
        if target.tls is not None:
            writer.write(postgresql.ssl_request())
            if await reader.readexactly(1) != b"S":
                return None
            await writer.start_tls(target.tls, server_hostname=target.host)
        who = target.credentials
        writer.write(postgresql.startup({"user": who.user, "database": who.database or who.user}))
        denied = await _log_in(reader, writer, who.password)
        if denied is not None:
            return None if denied in (_CANNOT_CONNECT_NOW, _TOO_MANY) else Answer.DENIED
        writer.write(postgresql.query("SELECT 1"))
        while (kind := (await _message(reader))[0]) != postgresql.READY_FOR_QUERY:
            if kind == postgresql.ERROR:
                return None
        writer.write(postgresql.message(b"X", b""))
        return Answer.READY


async def _log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> str | None:
    """None once the server is ready for queries, else the SQLSTATE with which it said no."""
    scram = postgresql.Scram(password, secrets.token_hex(12))
    while True:
        kind, body = await _message(reader)
        if kind == postgresql.ERROR:
            return postgresql.error_fields(body).get("C", "")
        if kind == postgresql.READY_FOR_QUERY:
            return None
        if kind == postgresql.AUTHENTICATION:
            reply = _reply(scram, struct.unpack_from("!I", body)[0], body[4:])
            if reply:
                writer.write(postgresql.message(b"p", reply))


def _reply(scram: postgresql.Scram, step: int, data: bytes) -> bytes:
    if step == postgresql.AUTH_SASL:
        return scram.first()
    if step == postgresql.AUTH_SASL_CONTINUE:
        return scram.final(data)
    if step == postgresql.AUTH_SASL_FINAL and not scram.verify(data):
        raise ValueError("the server does not know the password")
    return b""


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, length = struct.unpack("!cI", await reader.readexactly(5))
    return kind, await reader.readexactly(length - 4)


# Redis ----------------------------------------------------------------------------------------------------------------


async def _redis(target: Target) -> Answer | None:
    async with _connection(target, target.tls) as (reader, writer):
        password = target.credentials.password.encode()
        writer.write(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(password), password))
        if (answer := await reader.readline()) != b"+OK\r\n":
            return Answer.DENIED if answer.startswith((b"-WRONGPASS", b"-ERR AUTH", b"-ERR invalid")) else None
        writer.write(b"*1\r\n$4\r\nPING\r\n")
        return Answer.READY if await reader.readline() == b"+PONG\r\n" else None


# HTTP -----------------------------------------------------------------------------------------------------------------


async def http(target: Target, path: str) -> int:
    """The status of `GET path`, with basic authentication when there is a user."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {target.host}:{target.port}", "Connection: close"]
    if target.credentials.user:
        pair = f"{target.credentials.user}:{target.credentials.password}".encode()
        lines.append(f"Authorization: Basic {base64.b64encode(pair).decode()}")
    async with _connection(target, target.tls) as (reader, writer):
        writer.write("\r\n".join((*lines, "", "")).encode())
        status = (await reader.readline()).split()
        if len(status) < 2 or not status[0].startswith(b"HTTP/"):
            raise ValueError("not an HTTP answer")
        return int(status[1])


async def _elasticsearch(target: Target) -> Answer | None:
    status = await http(target, "/_cluster/health?wait_for_status=yellow&timeout=1s")
    return {200: Answer.READY, 401: Answer.DENIED}.get(status)


async def _http(target: Target) -> Answer | None:
    status = await http(target, "/")
    return Answer.READY if status < 500 else None


async def _tcp(target: Target) -> Answer | None:
    """Connected, and still connected a moment later: a container's port proxy accepts before the server does."""
    async with _connection(target, target.tls) as (reader, _):
        try:
            async with asyncio.timeout(0.2):
                return Answer.READY if await reader.read(1) else None
        except TimeoutError:
            return Answer.READY


CHECKS: dict[Readiness, Check] = {
    Readiness.POSTGRESQL: _postgresql,
    Readiness.REDIS: _redis,
    Readiness.ELASTICSEARCH: _elasticsearch,
    Readiness.HTTP: _http,
    Readiness.TCP: _tcp,
}
