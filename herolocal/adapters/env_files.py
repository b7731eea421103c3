"""Reads `.env` files in python-dotenv's dialect, naming what it cannot read; nothing is expanded here."""

from collections.abc import Sequence
from pathlib import Path

from dotenv.parser import parse_stream

from herolocal.errors import InvalidEnvFile
from herolocal.model.configvars import EnvEntry


def read(paths: Sequence[Path], directory: Path) -> tuple[EnvEntry, ...]:
    """Every assignment in order, so that a later file wins; raises InvalidEnvFile with file and line."""
    return tuple(entry for path in paths for entry in _read(directory / path, _shown(path, directory)))


def _shown(path: Path, directory: Path) -> str:
    try:
        return str((directory / path).relative_to(directory))
    except ValueError:
        return str(path)


def _read(path: Path, shown: str) -> list[EnvEntry]:
    entries = []
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for binding in parse_stream(stream):
                line = binding.original.line
                if binding.error:
                    first = binding.original.string.strip().partition("\n")[0]
                    name = first.partition("=")[0]
                    raise InvalidEnvFile(
                        f"{shown}:{line}: cannot read the line that begins with `{name}`. "
                        'Write NAME=value; a value with quotes or line breaks goes between "…".'
                    )
                if binding.key is not None:
                    entries.append(EnvEntry(binding.key, binding.value or "", shown, line))
    except FileNotFoundError as error:
        raise InvalidEnvFile(f"There is no file {shown}. Name an existing one with -e FILE.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidEnvFile(f"Cannot read {shown}: {error}.") from error
    return entries
