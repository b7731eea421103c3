"""Slugs and dependency layers on the disk: whole or not at all, shared, and not for ever."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from herolocal.adapters.slug_store import SlugStore
from herolocal.contracts.source import BuildOptions, BuiltSlug, Source

PLAIN = BuildOptions(install=False)
NOW = datetime.now(UTC)


@pytest.fixture
def project(tmp_path: Path) -> Source:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "a.txt").write_text("a")
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("a.txt")
    return Source(directory, ("a.txt", "link", "run.sh"))


@pytest.fixture
def store(tmp_path: Path) -> SlugStore:
    return SlugStore(tmp_path / "home", owner=None)


def build(store: SlugStore, source: Source) -> BuiltSlug:
    return asyncio.run(store.build(source, PLAIN, lambda _line: None))


def test_the_same_tree_is_the_same_slug_and_another_mode_content_or_link_is_not(
    store: SlugStore, project: Source
) -> None:
    first = build(store, project)
    assert build(store, project).checksum == first.checksum
    seen = {first.checksum}
    (project.directory / "a.txt").write_text("b")
    seen.add(build(store, project).checksum)
    (project.directory / "run.sh").chmod(0o644)
    seen.add(build(store, project).checksum)
    (project.directory / "link").unlink()
    (project.directory / "link").symlink_to("run.sh")
    seen.add(build(store, project).checksum)
    assert len(seen) == 4


def test_a_slug_holds_files_modes_and_links_as_they_are(store: SlugStore, project: Source) -> None:
    tree = build(store, project).tree.directory
    assert (tree / "a.txt").read_text() == "a"
    assert os.access(tree / "run.sh", os.X_OK)
    assert (tree / "link").readlink() == Path("a.txt")


def test_what_no_release_needs_and_what_a_killed_build_left_is_pruned(
    store: SlugStore, project: Source, tmp_path: Path
) -> None:
    old = build(store, project)
    (project.directory / "a.txt").write_text("b")
    new = build(store, project)
    (tmp_path / "home" / "slugs" / "new-half-made" / "tree").mkdir(parents=True)
    asyncio.run(store.prune(frozenset({new.checksum}), NOW))
    assert (old.tree.directory.exists(), new.tree.directory.exists()) == (False, True)
    assert list((tmp_path / "home" / "slugs").glob("new-*")) == []
    assert build(store, project).checksum == new.checksum


def test_layers_that_no_build_used_for_long_are_pruned(store: SlugStore, tmp_path: Path) -> None:
    layers = tmp_path / "home" / "layers"
    for name in ("used", "unused", "new-half-made"):
        (layers / name).mkdir(parents=True)
    month_ago = (NOW - timedelta(days=31)).timestamp()
    os.utime(layers / "unused", (month_ago, month_ago))
    asyncio.run(store.prune(frozenset(), NOW - timedelta(days=30)))
    assert [path.name for path in layers.iterdir()] == ["used"]
