"""Keeps what dynos lost, for `herolocal lost show`: at most 100 MB, the oldest goes first (contracts.trash)."""

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from herolocal.model.limits import TRASH_BYTES

_LARGEST = 20 * 1024 * 1024


class FileTrash:
    """Files with mode 0600 below `home/trash`."""

    def __init__(self, home: Path, limit: int = TRASH_BYTES) -> None:
        self._directory = home / "trash"
        self._limit = limit
        self._dropped: list[str] = []

    async def keep(self, contents: Sequence[Path]) -> Mapping[Path, str]:
        if not contents:
            return {}
        return await asyncio.get_running_loop().run_in_executor(None, self._keep, contents)

    def _keep(self, contents: Sequence[Path]) -> Mapping[Path, str]:
        kept = {}
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in contents:
            name = uuid.uuid4().hex
            target = self._directory / name
            try:
                if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
                    continue
                with (
                    path.open("rb") as source,
                    os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
                ):
                    shutil.copyfileobj(source, file)
            except OSError:  # a wipe must not fail because the trash is full
                target.unlink(missing_ok=True)
                continue
            kept[path] = name
        self._trim()
        return kept

    def _trim(self) -> None:
        """Drop the oldest until the rest fits."""
        try:
            entries = sorted(
                (entry.stat().st_mtime_ns, entry.stat().st_size, entry) for entry in self._directory.iterdir()
            )
        except OSError:
            return
        total = sum(size for _, size, _ in entries)
        for _, size, entry in entries:
            if total <= self._limit:
                return
            entry.unlink(missing_ok=True)
            self._dropped.append(entry.name)
            total -= size

    async def read(self, name: str) -> bytes | None:
        try:
            return (self._directory / Path(name).name).read_bytes()
        except OSError:
            return None

    def dropped(self) -> tuple[str, ...]:
        dropped, self._dropped = tuple(self._dropped), []
        return dropped
