"""What herolocal asks of time: now, and wake me then; a test's clock answers at once."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time, and the only way to wait for it."""

    def now(self) -> datetime:
        """The wall clock, in UTC, with microseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...
