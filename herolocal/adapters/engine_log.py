"""Follows a container's log over the engine's own HTTP, without a thread that waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

from herolocal.model.limits import ENGINE_TIMEOUT

_LIMIT = 64 * 1024
_FRAME = 8  # bytes before each piece of the log: the stream's number and the length


async def follow(url: str, container: str) -> AsyncIterator[str]:
    """The container's lines from now on, until it ends; nothing for an engine that is reached by TLS."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        opening = asyncio.open_unix_connection(parts.path, limit=_LIMIT)
    elif parts.scheme in ("tcp", "http") and parts.port:
        opening = asyncio.open_connection(parts.hostname, parts.port, limit=_LIMIT)
    else:
        return
    async with asyncio.timeout(ENGINE_TIMEOUT):
        reader, writer = await opening
    try:
        path = f"/containers/{quote(container)}/logs?follow=1&stdout=1&stderr=1&tail=0"
        # HTTP/1.0: the body comes as it is, and ends when the connection does.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
        async with asyncio.timeout(ENGINE_TIMEOUT):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " in head.split(b"\r\n", 1)[0]:
            async for line in _lines(reader):
                yield line
    finally:
        writer.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Frames of the engine's multiplexed log, cut into lines."""
    rest = b""
    while True:
        try:
            head = await reader.readexactly(_FRAME)
            data = rest + await reader.readexactly(int.from_bytes(head[4:], "big"))
        except asyncio.IncompleteReadError:
            return
        *lines, rest = data.split(b"\n")
        rest = rest[-_LIMIT:]
        for line in lines:
            yield line.decode("utf-8", "replace")
