"""A file that a dyno lost at its wipe: what kind of file it was, and what to use instead."""

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
