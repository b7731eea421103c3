"""What the list of lost files asks of the machine: keep some contents for a while, within bounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Trash(Protocol):
    """A bounded store of file contents."""

    async def keep(self, contents: Sequence[Path]) -> Mapping[Path, str]:
        """Take the files' contents before their wipe; the name of each that was kept. Never raises for a full disk."""
        ...

    async def read(self, name: str) -> bytes | None:
        """The content under this name, None when it was dropped meanwhile."""
        ...

    def dropped(self) -> tuple[str, ...]:
        """The names dropped for want of room since the last call."""
        ...
