"""What goes into a slug and what `.slugignore` and `.gitignore` drop."""

from collections.abc import Iterable, Mapping, Sequence

import pathspec

from herolocal.errors import UsageError

ALWAYS_DROPPED = (".git", ".DS_Store")


def slugignored(files: Sequence[str], slugignore: str) -> tuple[str, ...]:
    """The files that stay; `.slugignore` has gitignore's patterns, without negation.

    Raises UsageError naming the line. https://devcenter.heroku.com/articles/slug-compiler#ignoring-files-with-slugignore
    """
    lines = enumerate(slugignore.splitlines(), start=1)
    kept = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("!")]
    for number, line in kept:
        if not _is_pattern(line):
            raise UsageError(f".slugignore:{number}: cannot read the pattern `{line}`.")
    spec = pathspec.GitIgnoreSpec.from_lines([line for _, line in kept])
    return tuple(path for path in files if not spec.match_file(path) and not _always(path))


def _is_pattern(line: str) -> bool:
    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _always(path: str) -> bool:
    return any(part in ALWAYS_DROPPED for part in path.split("/"))


def gitignored(files: Iterable[str], gitignores: Mapping[str, str]) -> tuple[str, ...]:
    """The files that git would track, where there is no git to ask; `gitignores` by directory (`""` is the top)."""
    specs = {
        # As in git, what is no pattern matches nothing.
        directory: pathspec.GitIgnoreSpec.from_lines(line for line in text.splitlines() if _is_pattern(line))
        for directory, text in sorted(gitignores.items())
    }
    return tuple(path for path in files if not _always(path) and not _ignored(path, specs))


def _ignored(path: str, specs: Mapping[str, pathspec.GitIgnoreSpec]) -> bool:
    for directory, spec in specs.items():
        inside = f"{directory}/" if directory else ""
        if path.startswith(inside) and spec.match_file(path[len(inside) :]):
            return True
    return False
