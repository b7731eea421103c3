"""A file that a dyno lost at its wipe: what kind of file it was, and what to use instead."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What sort of file was lost."""

    DATABASE = "SQLite database"
    LOG = "log"
    UPLOAD = "upload"
    TRANSLATION = "compiled translation"
    CACHE = "cache"
    BYTECODE = "bytecode"
    TEMPORARY = "temporary"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Loss:
    """One lost file. `change` is `created`, `modified` or `deleted`; `kept` names its content in the trash, if any.

    `reason` is why the dyno was wiped: `restart`, `stop`, `crash`, `release`, `scale`, `exit`, `killed`. `is_real`
    is False for what costs nothing: bytecode, caches, and what the Procfile's own command makes anew at each start.
    """

    app: str
    dyno: str
    dyno_id: str
    release: int
    path: str
    size: int
    change: str
    kind: Kind
    advice: str
    is_real: bool
    reason: str
    wiped_at: datetime
    kept: str = ""


ADVICE = {
    Kind.DATABASE: "use DATABASE_URL (heroku-postgresql)",
    Kind.LOG: "write logs to standard output",
    Kind.UPLOAD: "keep uploads in object storage, such as S3",
    Kind.TRANSLATION: "compile translations before the push, or in a build step",
    Kind.CACHE: "a cache that starts empty: fine, or use REDIS_URL (heroku-redis)",
    Kind.BYTECODE: "bytecode, made again: fine",
    Kind.TEMPORARY: "temporary: fine",
    Kind.OTHER: "keep it in a database or in object storage",
}
_SQLITE_HEADER = b"SQLite format 3\0"
_SQLITE_COMPANIONS = ("-journal", "-wal", "-shm")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"RIFF", b"PK\x03\x04")
_UPLOADED = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".csv", ".xlsx", ".docx", ".mp3", ".mp4", ".zip")
_UPLOAD_DIRECTORIES = frozenset({"uploads", "upload", "media", "attachments", "user_files"})
_CACHE_DIRECTORIES = frozenset(
    {"__pycache__", ".cache", ".pytest_cache", ".mypy_cache", ".gunicorn", ".npm", ".webassets-cache", "flask_session"}
)
_CACHE_FILES = (
    "celerybeat-schedule",
    ".pid",
    ".sock",
    ".ctl",
    ".lock",
    ".bash_history",
    ".python_history",
    ".psql_history",
)
_NOT_REAL = frozenset({Kind.BYTECODE, Kind.CACHE, Kind.TEMPORARY})
# What a Procfile's own command makes anew at every start, and where.
_REBUILDS = ((("translate compile", "compilemessages", "pybabel compile"), Kind.TRANSLATION),)


@dataclass(frozen=True, slots=True)
class Wipe:
    """The circumstances of one wipe. `command` is the Procfile's, `attached` the add-on services the app has."""

    app: str
    dyno: str
    dyno_id: str
    release: int
    reason: str
    at: datetime
    command: str = ""
    attached: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file a dyno wrote, as the comparison found it; `head` are its first 64 bytes."""

    path: str
    size: int
    change: str
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Hint:
    """A file that one web dyno wrote and others cannot see."""

    path: str
    text: str


def classify(path: str, head: bytes) -> Kind:
    """What sort of file this is, by its header first, then its name and place."""
    name = path.rsplit("/", 1)[-1].lower()
    folders = frozenset(path.lower().split("/")[:-1])
    if head.startswith(_SQLITE_HEADER) or (not head and name.endswith(_DATABASES)) or _is_companion(name):
        return Kind.DATABASE
    tests = (
        (name.endswith((".pyc", ".pyo")), Kind.BYTECODE),
        (bool(folders & _CACHE_DIRECTORIES) or name.endswith(_CACHE_FILES), Kind.CACHE),
        (path.startswith("/tmp/"), Kind.TEMPORARY),
        (name.endswith((".mo", ".qm")), Kind.TRANSLATION),
        (".log" in name or bool(folders & {"log", "logs"}), Kind.LOG),
        (bool(folders & _UPLOAD_DIRECTORIES) or name.endswith(_UPLOADED) or head.startswith(_IMAGES), Kind.UPLOAD),
    )
    return next((kind for is_so, kind in tests if is_so), Kind.OTHER)


def _is_companion(name: str) -> bool:
    return any(name.endswith(f"{base}{tail}") for base in _DATABASES for tail in _SQLITE_COMPANIONS)


def loss_of(written: Written, wipe: Wipe, kept: str = "") -> Loss:
    """One lost file, with its advice."""
    kind = classify(written.path, written.head)
    rebuilt = any(made is kind and any(word in wipe.command for word in words) for words, made in _REBUILDS)
    return Loss(
        app=wipe.app,
        dyno=wipe.dyno,
        dyno_id=wipe.dyno_id,
        release=wipe.release,
        path=written.path,
        size=written.size,
        change=written.change,
        kind=kind,
        advice="rebuilt at every start by the Procfile: fine" if rebuilt else _advice(kind, wipe.attached),
        is_real=not rebuilt and kind not in _NOT_REAL,
        reason=wipe.reason,
        wiped_at=wipe.at,
        kept=kept,
    )


def _advice(kind: Kind, attached: Sequence[str]) -> str:
    if kind is Kind.DATABASE and "heroku-postgresql" in attached:
        return "use DATABASE_URL (heroku-postgresql is attached)"
    return ADVICE[kind]


def by_weight(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """Real losses first, the largest of each first."""
    return tuple(sorted(losses, key=lambda loss: (not loss.is_real, -loss.size, loss.path)))


def shared_nothing_hints(written: Mapping[str, Sequence[Written]]) -> tuple[Hint, ...]:
    """Files that one of several web dynos wrote, and the others cannot see; by dyno name."""
    hints = []
    for dyno, files in written.items():
        others = [other for other in written if other != dyno]
        theirs = {file.path for other in others for file in written[other]}
        for file in files:
            kind = classify(file.path, file.head)
            if file.path not in theirs and kind not in _NOT_REAL and file.change != "deleted" and kind is not Kind.LOG:
                text = f"{dyno} wrote {file.path}; {', '.join(others)} cannot see it: {ADVICE[kind]}."
                hints.append(Hint(file.path, text))
    return tuple(hints)
