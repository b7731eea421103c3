"""What the store remembers, and what it refuses."""

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from herolocal.adapters.sqlite_store import MIGRATIONS, SqliteStore
from herolocal.contracts.server import Backend, Credentials
from herolocal.contracts.store import AddonRecord, AppRecord, Page
from herolocal.errors import StoreFailed
from herolocal.model.formation import FormationRow
from herolocal.model.loss import Kind, Loss
from herolocal.model.release import Release, Status

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
APP = AppRecord(id="1", name="blog", directory="/srv/blog", created_at=AT)
LOSS = Loss(
    app="blog", dyno="web.1", dyno_id="d1", release=3, path="app.db", size=24, change="created", kind=Kind.DATABASE,
    advice="use DATABASE_URL", is_real=True, reason="restart", wiped_at=AT, kept="abc",
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "state.db")
    yield opened
    opened.close()


def test_an_app_is_remembered_with_all_that_belongs_to_it(store: SqliteStore) -> None:
    addon = AddonRecord(
        id="2", name="postgresql-flat-02648", app="blog", service="heroku-postgresql", plan="essential-0",
        attachment="DATABASE", volume="v", credentials=Credentials("u", "p", "d"), created_at=AT,
    )  # fmt: skip
    release = Release("3", 1, "Initial release", Status.PENDING, AT, "you@localhost", "slug", "c0ffee")
    store.save_app(APP)
    store.save_app(replace(APP, port=5006, backend=Backend.EMBEDDED))
    store.save_config_vars("blog", {"A": "1"})
    store.save_formation("blog", [FormationRow("web", 2), FormationRow("worker", 0)])
    store.save_addon(addon)
    store.save_release("blog", release)
    store.save_release("blog", replace(release, status=Status.SUCCEEDED))
    store.add_losses([LOSS])

    assert store.apps() == (replace(APP, port=5006, backend=Backend.EMBEDDED),)
    assert store.config_vars("blog") == {"A": "1"}
    assert store.formation("blog") == (FormationRow("web", 2), FormationRow("worker", 0))
    assert store.addons("blog") == (addon,)
    assert store.releases("blog") == (replace(release, status=Status.SUCCEEDED),)
    assert store.losses("blog", Page()) == (LOSS,)

    store.delete_app("blog")
    assert (store.apps(), store.addons("blog"), store.releases("blog"), store.losses("blog", Page())) == (
        (),
        (),
        (),
        (),
    )


def test_losses_are_read_newest_first_and_by_dyno_or_type(store: SqliteStore) -> None:
    store.add_losses([LOSS, replace(LOSS, path="b.txt")])
    store.add_losses([replace(LOSS, dyno="worker.1", path="c.txt")])
    assert [loss.path for loss in store.losses("blog", Page())] == ["c.txt", "app.db", "b.txt"]
    assert [loss.path for loss in store.losses("blog", Page(dyno="web"))] == ["app.db", "b.txt"]
    assert [loss.path for loss in store.losses("blog", Page(limit=1, dyno="web.1"))] == ["app.db"]
    store.forget_kept(["abc"])
    assert {loss.kept for loss in store.losses("blog", Page())} == {""}


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    store.save_app(APP)
    with sqlite3.connect(tmp_path / "state.db") as other:  # the first one is never closed, as after kill -9
        assert other.execute("SELECT name FROM app").fetchall() == [("blog",)]
    other.close()
    store.close()


def test_the_file_is_private(store: SqliteStore, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def test_the_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StoreFailed, match="newer version"):
        SqliteStore(tmp_path / "state.db")


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to be read as one" * 10)
    with pytest.raises(StoreFailed, match="Cannot open the state"):
        SqliteStore(tmp_path / "state.db")
