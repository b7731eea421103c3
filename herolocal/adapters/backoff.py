"""The one place that asks again: for what tells nobody when it is ready, such as a port or a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")


async def until(check: Callable[[], Awaitable[Answer | None]], *, first: float = 0.01, ceiling: float = 0.25) -> Answer:
    """Ask until the answer is true, waiting `first` seconds, then longer up to `ceiling`; cancel it to give up."""
    pause = first
    while not (answer := await check()):
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, ceiling)
    return answer
