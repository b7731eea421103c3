"""What goes into a slug and what `.slugignore` and `.gitignore` drop."""

from collections.abc import Iterable, Mapping, Sequence

import pathspec

ALWAYS_DROPPED = (".git", ".DS_Store")


def slugignored(files: Sequence[str], slugignore: str) -> tuple[str, ...]:
    """The files that stay; `.slugignore` has gitignore's patterns, without negation.

    https://devcenter.heroku.com/articles/slug-compiler#ignoring-files-with-slugignore
    """
    lines = [line for line in slugignore.splitlines() if line.strip() and not line.lstrip().startswith("!")]
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    return tuple(path for path in files if not spec.match_file(path) and not _always(path))


def _always(path: str) -> bool:
    return any(part in ALWAYS_DROPPED for part in path.split("/"))


def gitignored(files: Iterable[str], gitignores: Mapping[str, str]) -> tuple[str, ...]:
    """The files that git would track, where there is no git to ask; `gitignores` by directory (`""` is the top)."""
    specs = {
        directory: pathspec.GitIgnoreSpec.from_lines(text.splitlines())
        for directory, text in sorted(gitignores.items())
    }
    return tuple(path for path in files if not _always(path) and not _ignored(path, specs))


def _ignored(path: str, specs: Mapping[str, pathspec.GitIgnoreSpec]) -> bool:
    for directory, spec in specs.items():
        inside = f"{directory}/" if directory else ""
        if path.startswith(inside) and spec.match_file(path[len(inside) :]):
            return True
    return False
