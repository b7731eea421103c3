"""The router over real sockets: headers, streaming, limits and error codes, as Heroku's."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from herolocal.adapters.system_clock import SystemClock
from herolocal.model import codes
from herolocal.model.codes import Code
from herolocal.platform.router.exchange import Shared, Target
from herolocal.platform.router.pool import Pool
from herolocal.platform.router.server import Router

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Knows:
    """Routes of a test."""

    dynos: tuple[Target, ...] = ()
    why: Code | None = codes.H14
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def targets(self) -> tuple[Target, ...]:
        return self.dynos

    def refusal(self) -> Code | None:
        return None if self.dynos else self.why

    async def change(self) -> None:
        await self.changed.wait()


@dataclass
class Bench:
    """A router at work."""

    port: int
    lines: list[str]
    logged: asyncio.Event
    routes: Knows
    seen: list[bytes]

    async def ask(self, request: bytes) -> bytes:
        """Send bytes, read to the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answer(response: bytes) -> Handler:
    """A dyno that reads one head and says this."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)
        await writer.drain()
        await reader.read()

    return handle


@asynccontextmanager
async def routed(handler: Handler | None = None, **limits: float) -> AsyncIterator[Bench]:
    """A router before one dyno, or before none."""
    seen: list[bytes] = []

    async def dyno(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if handler is not None:
                await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(dyno, "127.0.0.1", 0)
    there = Target("web.1", server.sockets[0].getsockname()[1])
    routes = Knows((there,) if handler else ())
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    port = sock.getsockname()[1]
    lines: list[str] = []
    clock = SystemClock()
    logged = asyncio.Event()

    def log(line: str) -> None:
        lines.append(line)
        logged.set()

    shared = Shared(routes, Pool(clock), log, clock, random.Random(1), {}, **limits)
    task = asyncio.create_task(Router(shared).serve([sock], None))
    try:
        yield Bench(port, lines, logged, routes, seen)
    finally:
        task.cancel()
        await asyncio.wait({task})
        server.close()


GET = b"GET /x?y=1 HTTP/1.1\r\nHost: blog.localhost\r\nConnection: close\r\n\r\n"


def test_a_dyno_sees_what_herokus_router_adds_and_nothing_hop_by_hop() -> None:
    heads: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(OK)

    async def go() -> None:
        async with routed(keep) as bench:
            said = await bench.ask(
                b"GET / HTTP/1.1\r\nHost: blog.localhost\r\nX-Forwarded-For: 203.0.113.9\r\n"
                b"X-Forwarded-Proto: https\r\n"
                b"X-Request-Id: short\r\nKeep-Alive: 1\r\nTE: trailers\r\nX-Mine: kept\r\nConnection: close\r\n\r\n"
            )
            assert said.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Via: 1.1 heroku-router\r\n" in said
            assert b"Server: Heroku\r\n" in said
            head = heads[0].lower()
            port = str(bench.port).encode()
            for wanted in (
                b"host: blog.localhost", b"x-forwarded-for: 203.0.113.9, 127.0.0.1", b"x-forwarded-proto: http\r",
                b"x-forwarded-port: " + port, b"via: 1.1 heroku-router", b"x-mine: kept", b"x-request-start: 1",
            ):  # fmt: skip
                assert wanted in head
            for gone in (b"keep-alive", b"te:", b"short"):
                assert gone not in head
            (line,) = bench.lines
            assert line.startswith('at=info method=GET path="/" host=blog.localhost request_id=')
            assert 'fwd="203.0.113.9, 127.0.0.1" dyno=web.1 connect=' in line
            assert line.endswith("status=200 bytes=2 protocol=http1.1 tls=false tls_version=unknown")

    asyncio.run(go())


def test_a_good_request_id_of_the_client_is_kept() -> None:
    heads: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(OK)

    async def go() -> None:
        async with routed(keep) as bench:
            await bench.ask(GET.replace(b"\r\n\r\n", b"\r\nX-Request-Id: 0123456789abcdef0123\r\n\r\n"))
            assert b"X-Request-Id: 0123456789abcdef0123\r\n" in heads[0]

    asyncio.run(go())


ERRORS = {
    "closed without an answer": (b"", "H13", 503),
    "no HTTP": (b"hello\r\n\r\n", "H17", 503),
}


@pytest.mark.parametrize(("response", "code", "status"), ERRORS.values(), ids=ERRORS)
def test_what_a_dyno_does_wrong_has_a_code_and_a_page(response: bytes, code: str, status: int) -> None:
    async def bad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)

    async def go() -> None:
        async with routed(bad) as bench:
            said = await bench.ask(GET)
            assert said.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"Application error" in said
            (line,) = bench.lines
            assert f"code={code} desc=" in line
            assert f"status={status} " in line

    asyncio.run(go())


def test_a_response_that_breaks_off_is_h18() -> None:
    async def go() -> None:
        async with routed(answer_and_close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as bench:
            assert (await bench.ask(GET)).endswith(b"half")
            assert bench.lines[0].startswith('sock=backend at=error code=H18 desc="Server Request Interrupted"')

    asyncio.run(go())


def answer_and_close(response: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)

    return handle


@pytest.mark.parametrize(("why", "code"), [(codes.H14, "H14"), (codes.H10, "H10")])
def test_without_a_dyno_the_code_says_why(why: Code, code: str) -> None:
    async def go() -> None:
        async with routed() as bench:
            bench.routes.why = why
            assert (await bench.ask(GET)).startswith(b"HTTP/1.1 503")
            assert f"at=error code={code} " in bench.lines[0]
            assert "dyno= connect= service= status=503 bytes= " in bench.lines[0]

    asyncio.run(go())


def test_a_request_waits_for_a_dyno_that_boots_and_gives_up_with_h20() -> None:
    async def go() -> None:
        async with routed(boot_queue=0.05) as bench:
            bench.routes.why = None
            assert (await bench.ask(GET)).startswith(b"HTTP/1.1 503")
            assert "code=H20" in bench.lines[0]
        async with routed(answer(OK)) as bench:
            dynos, bench.routes.dynos, bench.routes.why = bench.routes.dynos, (), None
            asking = asyncio.create_task(bench.ask(GET))
            await asyncio.sleep(0)
            bench.routes.dynos = dynos
            bench.routes.changed.set()
            assert (await asking).startswith(b"HTTP/1.1 200")

    asyncio.run(go())


def test_no_byte_in_time_is_h12_and_silence_later_h15() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def go() -> None:
        async with routed(silent, first_byte=0.05) as bench:
            assert (await bench.ask(GET)).startswith(b"HTTP/1.1 503")
            assert 'code=H12 desc="Request timeout"' in bench.lines[0]
        async with routed(
            answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), idle=0.05, first_byte=0.05
        ) as bench:
            assert (await bench.ask(GET)).endswith(b"half")
            assert "code=H15" in bench.lines[0]

    asyncio.run(go())


def test_a_dyno_that_refuses_is_h21() -> None:
    async def go() -> None:
        async with routed(answer(OK)) as bench:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                bench.routes.dynos = (Target("web.1", free.getsockname()[1]),)
                assert (await bench.ask(GET)).startswith(b"HTTP/1.1 503")
            assert 'code=H21 desc="Backend connection refused"' in bench.lines[0]

    asyncio.run(go())


def test_a_client_that_leaves_is_h27() -> None:
    async def go() -> None:
        waits = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            waits.set()
            await reader.read()

        async with routed(slow) as bench:
            _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            writer.write(GET)
            await waits.wait()
            writer.transport.abort()
            await bench.logged.wait()
            assert bench.lines[0].startswith("sock=client at=warning code=H27")
            assert " status=499 " in bench.lines[0]

    asyncio.run(go())


def test_a_response_streams_piece_by_piece_chunked_when_it_has_no_length() -> None:
    async def go() -> None:
        got_first = asyncio.Event()

        async def pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst")
            await writer.drain()
            await got_first.wait()
            writer.write(b"second")

        async with routed(pieces) as bench:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            writer.write(GET)
            head = await read_head(reader)
            assert b"Transfer-Encoding: chunked" in head
            assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
            got_first.set()
            assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
            writer.close()

    asyncio.run(go())


def test_bodies_arrive_whole_with_length_and_chunked() -> None:
    async def go() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_head(reader)
            if b"Transfer-Encoding: chunked" in head:
                body = await reader.readuntil(b"0\r\n\r\n")
            else:
                body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        async with routed(echo) as bench:
            big = b"x" * 3_000_000
            post = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            said = await bench.ask(post + b"Content-Length: %d\r\n\r\n%s" % (len(big), big))
            assert said.endswith(big)
            said = await bench.ask(post + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            assert said.endswith(b"3\r\nabc\r\n0\r\n\r\n")

    asyncio.run(go())


def test_expect_is_answered_by_the_router_and_anything_else_refused() -> None:
    async def go() -> None:
        async with routed(answer(OK)) as bench:
            post = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\nExpect: "
            assert (await bench.ask(post + b"100-continue\r\n\r\n")).startswith(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"
            )
            assert (await bench.ask(post + b"miracles\r\n\r\n")).startswith(b"HTTP/1.1 417")

    asyncio.run(go())


def test_an_upgrade_becomes_a_pipe_of_bytes() -> None:
    async def go() -> None:
        async def socket_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_head(reader)
            assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in head
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while data := await reader.read(100):
                writer.write(data.upper())
                await writer.drain()

        async with routed(socket_echo) as bench:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert (await read_head(reader)).startswith(b"HTTP/1.1 101 ")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            writer.write(b"\x00\xff")
            assert await reader.readexactly(2) == b"\x00\xff"
            writer.close()

    asyncio.run(go())


def test_connections_to_a_dyno_and_of_a_client_are_kept() -> None:
    async def go() -> None:
        connections = 0

        async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while True:
                await read_head(reader)
                writer.write(OK)

        async with routed(many) as bench:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await read_head(reader)
                assert await reader.readexactly(2) == b"ok"
            writer.close()
            assert (connections, len(bench.lines)) == (1, 3)

    asyncio.run(go())


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def go() -> None:
        async def path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await read_head(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + head.split(b" ")[1])

        async with routed(path) as bench:
            said = await bench.ask(
                b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )
            assert said.index(b"\r\n\r\n/1") < said.index(b"\r\n\r\n/2")

    asyncio.run(go())


SMUGGLED = {
    "two lengths that differ": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "chunked and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "folded header": b"X-A: 1\r\n 2\r\n\r\n",
    "blank before the colon": b"Content-Length : 3\r\n\r\nabc",
    "length no number": b"Content-Length: 3x\r\n\r\nabc",
    "bad chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "header line too long": b"X-A: " + b"a" * 9000 + b"\r\n\r\n",
    "a coding besides chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too many headers": b"X: y\r\n" * 1001 + b"\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED)
def test_what_two_servers_could_read_differently_is_refused(rest: bytes) -> None:
    async def go() -> None:
        async with routed(answer(OK)) as bench:
            said = await bench.ask(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + rest)
            assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 499 ")), said[:80]

    asyncio.run(go())


def test_a_head_request_and_an_old_client_get_no_body_framing_they_cannot_read() -> None:
    async def go() -> None:
        async with routed(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as bench:
            said = await bench.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert said.endswith(b"\r\n\r\n")
            assert b"Content-Length: 5" in said
        async with routed(answer_and_close(b"HTTP/1.1 200 OK\r\n\r\nbody")) as bench:
            said = await bench.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            assert said.endswith(b"\r\n\r\nbody")
            assert b"chunked" not in said

    asyncio.run(go())


def test_a_slow_reader_costs_the_next_request_nothing() -> None:
    """Its last piece may pause the connection to the dyno, whose next user must not wait."""

    async def go() -> None:
        async def sized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                length = int((await read_head(reader)).split()[1].strip(b"/"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, b"x" * length))

        async with routed(sized) as bench:
            for size in range(100_000, 5_000_000, 100_000):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", bench.port))
                reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
                bench.logged.clear()
                writer.write(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):  # complete for the dyno, not yet read by the client
                        await bench.logged.wait()
                async with asyncio.timeout(5):
                    assert (await bench.ask(b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).endswith(b"xx")
                    assert len((await reader.read()).partition(b"\r\n\r\n")[2]) == size
                writer.close()

    asyncio.run(go())


def test_a_client_that_left_before_its_turn_is_not_sent_to_a_dyno() -> None:
    async def go() -> None:
        heads: list[bytes] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                heads.append(await read_head(reader))
                writer.write(OK)

        async with routed(note) as bench:
            there, bench.routes.dynos, bench.routes.why = bench.routes.dynos, (), None
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
                writer.write(b"GET /dead HTTP/1.1\r\nHost: a\r\n\r\n")
                bench.logged.clear()
                await asyncio.sleep(0)
                writer.transport.abort()
                async with asyncio.timeout(5):
                    await bench.logged.wait()
            bench.routes.dynos = there
            bench.routes.changed.set()
            assert (await bench.ask(GET)).endswith(b"ok")
            assert [head.split()[1] for head in heads] == [b"/x?y=1"]
            assert sum("code=H27" in line for line in bench.lines) == 3

    asyncio.run(go())


def test_an_upgrade_that_the_app_does_not_want_ends_with_its_response() -> None:
    async def go() -> None:
        async with routed(answer(OK)) as bench:
            ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
            async with asyncio.timeout(5):
                said = await bench.ask(ask)
            assert b"Connection: close" in said
            assert said.endswith(b"ok")

    asyncio.run(go())


def test_idle_connections_of_clients_end_with_the_router() -> None:
    async def go() -> None:
        async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_head(reader)
                writer.write(OK)

        async with routed(many) as bench:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await read_head(reader)
            assert await reader.readexactly(2) == b"ok"
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()

    asyncio.run(go())
