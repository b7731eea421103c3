"""Lost files: recorded at every wipe, told at once, remembered, and kept for a while to be looked at."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from herolocal.contracts.store import LossStore, Page
from herolocal.contracts.trash import Trash
from herolocal.contracts.workspace import Change, ChangeKind
from herolocal.errors import NotFound
from herolocal.model.loss import Loss, Wipe, Written, by_weight, loss_of


def written(change: Change) -> Written:
    """A change as the rules of `model.loss` see it; bytes of its name that are no text are written as `\\xff`."""
    path = change.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return Written(path, change.size, str(change.kind), change.head)


def _judged(changes: Sequence[Change], wipe: Wipe) -> list[tuple[Path | None, Loss]]:
    return [(change.content, loss_of(written(change), wipe)) for change in changes]


class Losses:
    """The losses of all apps of one home."""

    def __init__(self, store: LossStore, trash: Trash) -> None:
        self._store = store
        self._trash = trash

    async def record(self, changes: Sequence[Change], wipe: Wipe) -> tuple[Loss, ...]:
        """Keep what is worth it, remember all; call it before the wipe. Real losses first."""
        # In a thread: they may be very many, and the loop has other apps to serve.
        found = await asyncio.to_thread(_judged, changes, wipe)
        kept = await self._trash.keep([content for content, loss in found if loss.is_real and content is not None])
        losses = by_weight(
            replace(loss, kept=kept[content]) if content in kept else loss  # type: ignore[index]  # None is no key of it
            for content, loss in found
        )
        self._store.forget_kept(self._trash.dropped())
        if losses:
            self._store.add_losses(losses)
        return losses

    def history(self, app: str, page: Page) -> tuple[Loss, ...]:
        """Newest wipe first."""
        return self._store.losses(app, page)

    async def content(self, app: str, dyno: str, path: str) -> bytes:
        """The content that the last wipe of this dyno took; raises NotFound when it was not kept."""
        for loss in self._store.losses(app, Page(dyno=dyno)):
            if loss.path == path:
                found = await self._trash.read(loss.kept) if loss.kept else None
                if found is None:
                    why = (
                        "it was deleted by the app"
                        if loss.change == ChangeKind.DELETED
                        else "it was too large, or not a real loss"
                    )
                    raise NotFound(f"The content of {path} was not kept: {why}, or newer losses took its place.")
                return found
        raise NotFound(f"No dyno {dyno} of {app} lost a file {path}. See `herolocal lost`.")
