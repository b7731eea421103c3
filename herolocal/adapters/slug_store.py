"""Slugs on the disk: a content-addressed, unpacked tree for each build, and the dependency layer that goes with it."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import stat
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from herolocal.adapters import scratch
from herolocal.adapters.layers import Layers
from herolocal.contracts.source import BuildOptions, BuiltSlug, OnLine, Source
from herolocal.contracts.workspace import SlugTree
from herolocal.errors import BuildFailed, SlugTooLarge, WorkspaceFailed
from herolocal.model.limits import SLUG_BYTES, SLUG_SOFT_BYTES

_MB = 1024 * 1024
# Dependency directories that git ignores, but a process needs where nothing was built for it.
_LIBRARIES = ("lib", "lib64", "libexec", "pyvenv.cfg")
_SYSTEM = (Path("/bin"), Path("/sbin"))
_DEPENDENCIES = ("node_modules", "vendor/bundle", ".venv", "venv")


class SlugStore:
    """contracts.source.SlugBuilder below `home/slugs` and `home/layers`. `owner` gets the files when we are root."""

    def __init__(self, home: Path, *, owner: tuple[int, int] | None) -> None:
        self._slugs = home / "slugs"
        self._layers = Layers(home, owner=owner)
        self._owner = owner

    async def build(self, source: Source, options: BuildOptions, on_line: OnLine) -> BuiltSlug:
        loop = asyncio.get_running_loop()
        checksum, size = await loop.run_in_executor(None, self._make, source)
        directory = self._slugs / checksum / "tree"
        notes = _size_notes(size)
        plan = await loop.run_in_executor(None, self._layers.plan, source, options) if options.install else None
        if plan is None:
            return self._without_layer(source, options, directory, checksum, size, notes)
        layer, cached = await self._layers.install(plan, options, on_line)
        tree = SlugTree(directory, (layer,), plan.interpreters)
        return BuiltSlug(
            tree=tree,
            checksum=checksum,
            summary=plan.summary,
            size=size,
            cached=cached,
            in_callers_environment=False,
            notes=(*plan.notes, *notes),
        )

    def _without_layer(
        self, source: Source, options: BuildOptions, directory: Path, checksum: str, size: int, notes: tuple[str, ...]
    ) -> BuiltSlug:
        """No package file that herolocal builds, or `--no-build`: the caller's environment, ignored dependencies."""
        found = [name for name in _DEPENDENCIES if (source.directory / name).is_dir()]
        said = (
            "Nothing was built: dynos run in your shell's environment"
            + (f", with the project's own {', '.join(found)}" if found else "")
            + "."
        )
        link = self._dependency_layer(source.directory, found) if found else None
        interpreters = _prefixes(options.caller, [source.directory / name for name in found])
        return BuiltSlug(
            tree=SlugTree(directory, (link,) if link else (), interpreters),
            checksum=checksum,
            summary="no build" if not options.install else "no supported package file, nothing to build",
            size=size,
            cached=True,
            in_callers_environment=True,
            notes=(said, *notes),
        )

    def _dependency_layer(self, directory: Path, names: list[str]) -> Path:
        """A layer of links to the project's own dependency directories."""
        key = hashlib.sha256(f"{directory}\0{names}".encode()).hexdigest()[:32]
        layer = self._slugs / f"links-{key}"
        for name in names:
            link = layer / name
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(directory / name)
        return layer

    # the tree -------------------------------------------------------------------------------------------------------

    def _make(self, source: Source) -> tuple[str, int]:
        """Checksum and size; the tree is there afterwards, or WorkspaceFailed or BuildFailed was raised."""
        try:
            checksum, size = self._checksum(source)
            target = self._slugs / checksum
            if not target.exists():
                self._copy(source, target, size)
        except OSError as error:
            raise _failed(error) from error
        return checksum, size

    def _checksum(self, source: Source) -> tuple[str, int]:
        """Over every path, mode and content. What an unchanged stat says again is not read again."""
        index = self._slugs / f"index-{hashlib.sha256(str(source.directory).encode()).hexdigest()[:32]}.json"
        known = _read_index(index)
        digest, size, entries = hashlib.sha256(), 0, {}
        for path in source.files:
            found = os.lstat(source.directory / path)
            stamp = [found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size]
            before = known.get(path)
            content = before[1] if before and before[0] == stamp else _content(source.directory / path)
            entries[path] = [stamp, content]
            executable = bool(found.st_mode & stat.S_IXUSR)
            digest.update(
                f"{path}\0{stat.S_IFMT(found.st_mode):o}\0{executable}\0{content}\n".encode("utf-8", "surrogateescape")
            )
            size += found.st_size
        if entries != known:
            _write_index(index, entries)
        return digest.hexdigest(), size

    def _copy(self, source: Source, target: Path, size: int) -> None:
        """Copy beside the target, measure where that may matter, then rename: a slug is there whole or not at all."""
        new = self._slugs / f"new-{uuid.uuid4()}"
        try:
            tree = new / "tree"
            tree.mkdir(parents=True, mode=0o755)
            for path in source.files:
                _copy_file(source.directory / path, tree / path)
            if size > SLUG_SOFT_BYTES:
                _check_compressed(tree)
            if self._owner is not None:
                scratch.give(new, self._owner)
            with contextlib.suppress(FileExistsError):
                new.rename(target)
        except OSError as error:
            if not target.exists():  # another build of the same tree was quicker
                raise _failed(error) from error
        finally:
            scratch.remove(new)

    async def prune(self, keep: frozenset[str], layers_used_after: datetime) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._prune, keep)
        await asyncio.get_running_loop().run_in_executor(None, self._layers.prune, layers_used_after.timestamp())

    def _prune(self, keep: frozenset[str]) -> None:
        for directory in self._slugs.glob("*/"):
            if directory.name not in keep and not directory.name.startswith("links-"):
                scratch.remove(directory)


def _read_index(path: Path) -> dict[str, list[object]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_index(path: Path, entries: dict[str, list[object]]) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    new = path.with_suffix(f".{uuid.uuid4()}")
    new.write_text(json.dumps(entries))
    new.replace(path)


def _content(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)


class _Counter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


def _check_compressed(tree: Path) -> None:
    """Heroku's limit counts the compressed archive; raises SlugTooLarge.

    https://devcenter.heroku.com/articles/slug-compiler#slug-size
    """
    counter = _Counter()
    with tarfile.open(fileobj=counter, mode="w|gz") as archive:  # type: ignore[call-overload]  # it needs write only
        archive.add(tree, arcname="app")
    if counter.size > SLUG_BYTES:
        raise SlugTooLarge(
            f"Compiled slug size: {counter.size // _MB}M is too large (max is {SLUG_BYTES // _MB}M). "
            "Leave files out with .slugignore, or keep them in object storage."
        )


def _size_notes(size: int) -> tuple[str, ...]:
    if size <= SLUG_SOFT_BYTES:
        return ()
    return (
        f"The slug holds {size // _MB} MB of files: over {SLUG_SOFT_BYTES // _MB} MB compressed, boot gets slower.",
    )


def _failed(error: OSError) -> BuildFailed | WorkspaceFailed:
    if error.filename and not os.access(str(error.filename), os.R_OK) and os.path.lexists(str(error.filename)):
        return BuildFailed(
            f"Cannot read {error.filename}: {error.strerror}. Make it readable, or list it in .slugignore."
        )
    return WorkspaceFailed(
        f"Cannot make the slug: {error.strerror}. Free some space, or set HEROLOCAL_HOME to a writable disk with room."
    )


def _prefixes(caller: Mapping[str, str], environments: list[Path]) -> tuple[Path, ...]:
    """Where the caller's programs live, outside of what every dyno sees: pyenv, nvm, a virtual environment."""
    path = [Path(part) for part in caller.get("PATH", "").split(":") if part.startswith("/")]
    home = Path(caller.get("HOME") or "/")
    return tuple(dict.fromkeys(_outside(path, environments, home)))


def _outside(path: list[Path], environments: list[Path], home: Path) -> Iterator[Path]:
    for directory in path:
        if directory in _SYSTEM or directory.is_relative_to("/usr") or not _is_dir(directory):
            continue
        yield directory
        if directory.name == "shims" and not home.is_relative_to(directory.parent):  # of pyenv, rbenv, asdf
            yield directory.parent
        if directory.name == "bin":
            yield from _libraries(directory.parent, home)
        for name in ("python3", "python", "node", "ruby"):
            yield from _real_prefix(directory / name, home)
    for environment in environments:
        yield environment
        yield from _real_prefix(environment / "bin" / "python", home)


def _libraries(prefix: Path, home: Path) -> Iterator[Path]:
    """What programs of this prefix need besides themselves; a person's home is no prefix, whatever is in it."""
    if not home.is_relative_to(prefix):
        yield from (prefix / name for name in _LIBRARIES if (prefix / name).exists())


def _real_prefix(program: Path, home: Path) -> Iterator[Path]:
    """Where a program that is a link really lives, when that is a place of its own."""
    try:
        real = program.resolve(strict=True)
    except OSError:
        return
    if not real.is_relative_to("/usr"):
        yield real.parent
        yield from _libraries(real.parent.parent, home)


def _is_dir(path: Path) -> bool:
    """Whether it is a directory that we may enter; another user's home is not."""
    return os.access(path, os.X_OK)
