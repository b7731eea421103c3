"""Lost files: recorded at every wipe, told at once, remembered, and kept for a while to be looked at."""

from collections.abc import Sequence

from herolocal.contracts.store import LossStore, Page
from herolocal.contracts.trash import Trash
from herolocal.contracts.workspace import Change, ChangeKind
from herolocal.errors import NotFound
from herolocal.model.loss import Loss, Wipe, Written, by_weight, loss_of


def written(change: Change) -> Written:
    """A change as the rules of `model.loss` see it."""
    return Written(change.path, change.size, str(change.kind), change.head)


class Losses:
    """The losses of all apps of one home."""

    def __init__(self, store: LossStore, trash: Trash) -> None:
        self._store = store
        self._trash = trash

    async def record(self, changes: Sequence[Change], wipe: Wipe) -> tuple[Loss, ...]:
        """Keep what is worth it, remember all; call it before the wipe. Real losses first."""
        found = [(change, loss_of(written(change), wipe)) for change in changes]
        worth = [change.content for change, loss in found if loss.is_real and change.content is not None]
        kept = await self._trash.keep([path for path in worth if path is not None])
        losses = by_weight(
            loss_of(written(change), wipe, kept.get(change.content, "") if change.content else "")
            for change, _ in found
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
