"""The stores of `contracts.store` in one SQLite file: WAL, one transaction per change, numbered migrations."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from herolocal.contracts.server import Backend, Credentials
from herolocal.contracts.store import AddonRecord, AppRecord, Page
from herolocal.errors import StoreFailed
from herolocal.model.formation import FormationRow
from herolocal.model.limits import size_named
from herolocal.model.loss import Kind, Loss
from herolocal.model.release import Release, Status

# One entry per version of the schema, oldest first; an entry is never edited, only followed by another.
MIGRATIONS = (
    """
    CREATE TABLE app (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, directory TEXT NOT NULL UNIQUE, created_at REAL NOT NULL,
        port INTEGER, backend TEXT, config_vars TEXT NOT NULL DEFAULT '{}'
    );
    CREATE TABLE formation (
        app TEXT NOT NULL, position INTEGER NOT NULL, type TEXT NOT NULL, quantity INTEGER NOT NULL, size TEXT NOT NULL,
        PRIMARY KEY (app, type)
    );
    CREATE TABLE release (
        app TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL, description TEXT NOT NULL, status TEXT NOT NULL,
        created_at REAL NOT NULL, user TEXT NOT NULL, slug TEXT NOT NULL, source_commit TEXT NOT NULL,
        PRIMARY KEY (app, version)
    );
    CREATE TABLE addon (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, app TEXT NOT NULL, service TEXT NOT NULL, plan TEXT NOT NULL,
        attachment TEXT NOT NULL, volume TEXT NOT NULL, user TEXT NOT NULL, password TEXT NOT NULL,
        database TEXT NOT NULL, created_at REAL NOT NULL
    );
    CREATE TABLE loss (
        id INTEGER PRIMARY KEY, app TEXT NOT NULL, dyno TEXT NOT NULL, dyno_id TEXT NOT NULL, release INTEGER NOT NULL,
        path TEXT NOT NULL, size INTEGER NOT NULL, change TEXT NOT NULL, kind TEXT NOT NULL, advice TEXT NOT NULL,
        is_real INTEGER NOT NULL, reason TEXT NOT NULL, wiped_at REAL NOT NULL, kept TEXT NOT NULL
    );
    CREATE INDEX loss_by_app ON loss (app, id);
    """,
)
_BUSY_SECONDS = 5.0


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class SqliteStore:
    """The state of one home. All calls are short and made on the event loop."""

    def __init__(self, path: Path) -> None:
        """Open `path`, made with mode 0600 when new; raises StoreFailed."""
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._db.row_factory = sqlite3.Row
                self._db.execute("PRAGMA journal_mode=WAL")
                self._migrate()
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreFailed(f"Cannot open the state of herolocal at {path}: {error}.") from error

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        self._db.close()

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreFailed(
                f"The state of herolocal was written by a newer version (schema {version}, this one knows "
                f"{len(MIGRATIONS)}). Install that version, or name another directory as HEROLOCAL_HOME."
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript("".join(("BEGIN;", script, f"PRAGMA user_version={number};", "COMMIT;")))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreFailed(f"Cannot write the state of herolocal: {error}.") from error

    # apps -----------------------------------------------------------------------------------------------------------

    def apps(self) -> tuple[AppRecord, ...]:
        rows = self._db.execute("SELECT * FROM app ORDER BY created_at, rowid")
        return tuple(
            AppRecord(
                id=row["id"],
                name=row["name"],
                directory=row["directory"],
                created_at=_time(row["created_at"]),
                port=row["port"],
                backend=Backend(row["backend"]) if row["backend"] else None,
            )
            for row in rows
        )

    def save_app(self, app: AppRecord) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO app (id, name, directory, created_at, port, backend) VALUES (?,?,?,?,?,?)"
                " ON CONFLICT (id) DO UPDATE SET name=excluded.name, directory=excluded.directory,"
                " port=excluded.port, backend=excluded.backend",
                (app.id, app.name, app.directory, app.created_at.timestamp(), app.port, app.backend),
            )

    def delete_app(self, name: str) -> None:
        with self._transaction() as db:
            for table in ("formation", "release", "addon", "loss"):
                db.execute(f"DELETE FROM {table} WHERE app=?", (name,))  # noqa: S608 - a name from the line above
            db.execute("DELETE FROM app WHERE name=?", (name,))

    # formation and config vars --------------------------------------------------------------------------------------

    def formation(self, app: str) -> tuple[FormationRow, ...]:
        rows = self._db.execute("SELECT * FROM formation WHERE app=? ORDER BY position", (app,))
        return tuple(FormationRow(row["type"], row["quantity"], size_named(row["size"])) for row in rows)

    def save_formation(self, app: str, rows: Sequence[FormationRow]) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM formation WHERE app=?", (app,))
            db.executemany(
                "INSERT INTO formation VALUES (?,?,?,?,?)",
                [(app, number, row.type, row.quantity, row.size.name) for number, row in enumerate(rows)],
            )

    def config_vars(self, app: str) -> Mapping[str, str]:
        row = self._db.execute("SELECT config_vars FROM app WHERE name=?", (app,)).fetchone()
        values: dict[str, str] = json.loads(row["config_vars"]) if row else {}
        return values

    def save_config_vars(self, app: str, values: Mapping[str, str]) -> None:
        with self._transaction() as db:
            db.execute("UPDATE app SET config_vars=? WHERE name=?", (json.dumps(dict(values)), app))

    # releases -------------------------------------------------------------------------------------------------------

    def releases(self, app: str) -> tuple[Release, ...]:
        rows = self._db.execute("SELECT * FROM release WHERE app=? ORDER BY version", (app,))
        return tuple(
            Release(
                id=row["id"],
                version=row["version"],
                description=row["description"],
                status=Status(row["status"]),
                created_at=_time(row["created_at"]),
                user=row["user"],
                slug=row["slug"],
                commit=row["source_commit"],
            )
            for row in rows
        )

    def save_release(self, app: str, release: Release) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO release VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    app,
                    release.version,
                    release.id,
                    release.description,
                    release.status,
                    release.created_at.timestamp(),
                    release.user,
                    release.slug,
                    release.commit,
                ),
            )

    # add-ons --------------------------------------------------------------------------------------------------------

    def addons(self, app: str) -> tuple[AddonRecord, ...]:
        rows = self._db.execute("SELECT * FROM addon WHERE app=? ORDER BY created_at, rowid", (app,))
        return tuple(
            AddonRecord(
                id=row["id"],
                name=row["name"],
                app=row["app"],
                service=row["service"],
                plan=row["plan"],
                attachment=row["attachment"],
                volume=row["volume"],
                credentials=Credentials(row["user"], row["password"], row["database"]),
                created_at=_time(row["created_at"]),
            )
            for row in rows
        )

    def save_addon(self, addon: AddonRecord) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO addon VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    addon.id,
                    addon.name,
                    addon.app,
                    addon.service,
                    addon.plan,
                    addon.attachment,
                    addon.volume,
                    addon.credentials.user,
                    addon.credentials.password,
                    addon.credentials.database,
                    addon.created_at.timestamp(),
                ),
            )

    def delete_addon(self, name: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM addon WHERE name=?", (name,))

    # losses ---------------------------------------------------------------------------------------------------------

    def losses(self, app: str, page: Page) -> tuple[Loss, ...]:
        rows = self._db.execute(
            "SELECT * FROM loss WHERE app=? AND (?='' OR dyno=? OR dyno LIKE ? || '.%') ORDER BY id DESC LIMIT ?",
            (app, page.dyno, page.dyno, page.dyno, page.limit),
        )
        return tuple(_loss(row) for row in rows)

    def add_losses(self, losses: Sequence[Loss]) -> None:
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO loss (app, dyno, dyno_id, release, path, size, change, kind, advice, is_real, reason,"
                " wiped_at, kept) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [_loss_row(loss) for loss in reversed(losses)],
            )

    def forget_kept(self, kept: Sequence[str]) -> None:
        with self._transaction() as db:
            db.executemany("UPDATE loss SET kept='' WHERE kept=?", [(name,) for name in kept])


def _loss(row: sqlite3.Row) -> Loss:
    values = {name: row[name] for name in row.keys() if name != "id"}  # noqa: SIM118 - a Row iterates its values
    return replace(
        Loss(**values), kind=Kind(row["kind"]), is_real=bool(row["is_real"]), wiped_at=_time(row["wiped_at"])
    )


def _loss_row(loss: Loss) -> tuple[object, ...]:
    return (
        loss.app,
        loss.dyno,
        loss.dyno_id,
        loss.release,
        loss.path,
        loss.size,
        loss.change,
        loss.kind,
        loss.advice,
        int(loss.is_real),
        loss.reason,
        loss.wiped_at.timestamp(),
        loss.kept,
    )
