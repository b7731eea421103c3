"""The ledger of one app's releases: every change of slug, config vars or add-ons adds to it, nothing else does."""

import uuid
from dataclasses import replace

from herolocal.contracts.clock import Clock
from herolocal.contracts.store import ReleaseStore
from herolocal.model.release import Release, Status


class Releases:
    """Releases of one app, numbered from 1."""

    def __init__(self, store: ReleaseStore, clock: Clock, app: str) -> None:
        self._store = store
        self._clock = clock
        self._app = app

    def all(self) -> tuple[Release, ...]:
        """Oldest first."""
        return self._store.releases(self._app)

    def current(self) -> Release | None:
        """The newest one that succeeded: what the formation runs."""
        return next((item for item in reversed(self.all()) if item.status is Status.SUCCEEDED), None)

    def begin(self, description: str, user: str, *, slug: str = "", commit: str = "") -> Release:
        """The next version, pending until its release phase has ended."""
        version = max((item.version for item in self.all()), default=0) + 1
        release = Release(
            id=str(uuid.uuid4()),
            version=version,
            description=description,
            status=Status.PENDING,
            created_at=self._clock.now(),
            user=user,
            slug=slug,
            commit=commit,
        )
        self._store.save_release(self._app, release)
        return release

    def finish(self, release: Release, *, succeeded: bool) -> Release:
        """Record how it ended."""
        ended = replace(release, status=Status.SUCCEEDED if succeeded else Status.FAILED)
        self._store.save_release(self._app, ended)
        return ended
