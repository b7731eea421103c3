"""The ledger of releases: versions, statuses, and Heroku's descriptions of what made them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """As in the Platform API (`release.status`)."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Release:
    """One release: a slug together with config vars and add-ons. Shown as `v12`."""

    id: str
    version: int
    description: str
    status: Status
    created_at: datetime
    user: str
    slug: str = ""
    commit: str = ""


def deploy_description(commit: str, *, uncommitted: bool) -> str:
    """`Deploy 60a874b3`; a working tree that no commit holds is named as such."""
    if not commit:
        return "Deploy working tree"
    return f"Deploy {commit[:8]}" + (" with uncommitted changes" if uncommitted else "")


def set_description(names: Iterable[str]) -> str:
    """`Set FOO, BAR config vars`."""
    return f"Set {', '.join(names)} config vars"


def removed_description(names: Iterable[str]) -> str:
    """`Remove FOO config vars`."""
    return f"Remove {', '.join(names)} config vars"
