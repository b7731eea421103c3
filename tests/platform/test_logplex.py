"""The log: format, cuts, unfinished lines, ring, tail sessions that fall behind."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from herolocal.platform.logplex import Logplex, Session, matches
from tests.fakes import FakeClock

AT = "2026-01-02T03:04:05.000000+00:00"


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def text(logplex: Logplex) -> list[str]:
    return logplex.history(1500).decode("utf-8", "replace").splitlines()


def test_a_line_has_logplexs_format() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        writer = logplex.writer("app", "web.1")
        writer.chunk(b"one\ntwo\n")
        logplex.line("heroku", "router", "at=info")
        assert text(logplex) == [f"{AT} app[web.1]: one", f"{AT} app[web.1]: two", f"{AT} heroku[router]: at=info"]

    play(story)


def test_an_unfinished_line_waits_for_its_end_or_is_shown_after_a_moment() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        writer = logplex.writer("app", "web.1")
        writer.chunk(b"par")
        writer.chunk("tü\nName: ".encode()[:4])
        writer.chunk("tü\nName: ".encode()[4:])
        assert text(logplex) == [f"{AT} app[web.1]: partü"]
        async with logplex.tail(lines=0) as session:
            assert await anext(aiter(session)) == f"{AT} app[web.1]: Name: \n".encode()
        writer.chunk(b"end")
        writer.close()
        assert text(logplex)[-1] == f"{AT} app[web.1]: end"

    play(story)


@pytest.mark.parametrize("size", [10_000, 10_001, 300_000])
def test_a_long_line_is_cut_into_10000_bytes(size: int) -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        writer = logplex.writer("app", "web.1")
        for at in range(0, size, 4096):
            writer.chunk(b"x" * min(4096, size - at))
        writer.chunk(b"\n")
        lengths = [len(line) - len(f"{AT} app[web.1]: ") for line in text(logplex)]
        assert sum(lengths) == size
        assert max(lengths) == min(size, 10_000)

    play(story)


def test_bytes_that_are_no_utf8_pass_and_never_raise() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        logplex.writer("app", "web.1").chunk(b"\xff\xfe\x00\r\n")
        assert logplex.history(1).endswith(b"\xff\xfe\x00\r\n")

    play(story)


def test_the_ring_holds_1500_lines() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        writer = logplex.writer("app", "web.1")
        for number in range(200):
            writer.chunk(b"".join(b"%d-%d\n" % (number, line) for line in range(10)))
        lines = text(logplex)
        assert (len(lines), lines[-1].endswith("199-9"), lines[0].endswith("50-0")) == (1500, True, True)

    play(story)


@pytest.mark.parametrize(
    ("dyno", "source", "expected"),
    [("web", None, ["web.1", "web.2"]), ("web.1", None, ["web.1"]), (None, "heroku", ["router"]), ("we", None, [])],
)
def test_filters_take_a_type_a_dyno_or_a_source(dyno: str | None, source: str | None, expected: list[str]) -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        for name in ("web.1", "web.2", "worker.1"):
            logplex.line("app", name, "x")
        logplex.line("heroku", "router", "y")
        async with logplex.tail(dyno=dyno, source=source, tail=False) as session:
            found = b"".join([data async for data in session]).decode().splitlines()
        assert [line.split("[")[1].split("]")[0] for line in found] == expected

    play(story)


def test_the_newest_lines_that_match_are_shown() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        for number in range(5):
            logplex.line("app", "web.1", str(number))
            logplex.line("heroku", "router", "z")
        async with logplex.tail(dyno="web", lines=2, tail=False) as session:
            found = b"".join([data async for data in session]).decode().splitlines()
        assert [line[-1] for line in found] == ["3", "4"]

    play(story)


def test_a_reader_that_is_too_slow_loses_lines_is_told_how_many_and_blocks_nobody() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        async with logplex.tail(lines=0, events=True) as session:
            line = b"x" * 9_000 + b"\n"
            writer = logplex.writer("app", "web.1")
            for _ in range(2000):
                writer.chunk(line)
            logplex.post(b"\x1e{}\n")
            data = await anext(aiter(session))
        kept = data.count(b"xxx\n")
        assert len(data) < 6_000_000
        assert f"This tail session dropped {2000 - kept} messages since {AT}.".encode() in data
        assert b"\x1e{}\n" in data

    play(story)


def test_events_go_to_those_who_asked_and_never_into_the_log() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        async with logplex.tail(lines=0) as plain, logplex.tail(lines=0, events=True) as full:
            logplex.post(b"\x1e{}\n")
            logplex.line("app", "web.1", "x")
            logplex.close()
            assert b"\x1e" not in await everything(plain)
            assert (await everything(full)).startswith(b"\x1e{}\n")
        assert len(text(logplex)) == 1

    play(story)


async def everything(session: Session) -> bytes:
    return b"".join([data async for data in session])


def test_a_filter_keeps_carriage_returns_and_bytes_that_are_no_text() -> None:
    async def story() -> None:
        logplex = Logplex(FakeClock())
        logplex.line("heroku", "web.1", "x")
        async with logplex.tail(source="app", lines=0) as session:
            logplex.writer("app", "web.1").chunk(b"10%\r50%\r\xff\xfe[\n")
            assert await anext(aiter(session)) == logplex.history(1, None)
        assert logplex.history(9, lambda line: matches(line, None, "app")).endswith(b"]: 10%\r50%\r\xff\xfe[\n")

    play(story)


def test_a_line_that_looks_like_another_dyno_is_not_taken_for_it() -> None:
    assert not matches(f"{AT} app[web.1]: app[web.2]: x".encode(), "web.2", None)
