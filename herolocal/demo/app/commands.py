"""flask translate init|update|compile, and flask search reindex."""

from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from flask import Flask, current_app
from flask.cli import AppGroup

from app.models import Post, db
from app.search import SearchUnavailable

translate = AppGroup("translate", help="The translations of the pages.")
search = AppGroup("search", help="The search index.")
KEYWORDS = {**DEFAULT_KEYWORDS, "_l": None}
METHODS = [("**.py", "python"), ("**.html", "jinja2")]


def register(app: Flask) -> None:
    app.cli.add_command(translate)
    app.cli.add_command(search)


@translate.command("init")
@click.argument("language")
def init(language: str) -> None:
    """Begin a translation into LANGUAGE."""
    target = _translations() / language / "LC_MESSAGES" / "messages.po"
    if target.exists():
        raise click.ClickException(f"{target} exists: flask translate update")
    target.parent.mkdir(parents=True)
    catalog = _extract()
    catalog.locale = language
    _write(catalog, target)


@translate.command("update")
def update() -> None:
    """Bring new and changed texts of the pages into every language."""
    template = _extract()
    for path in _sources():
        catalog = _read(path)
        catalog.update(template)
        _write(catalog, path)


@translate.command("compile")
def compile_() -> None:
    """Make the .mo files that the site reads. Git does not carry them: the Procfile makes them at each start."""
    for path in _sources():
        with path.with_suffix(".mo").open("wb") as file:
            write_mo(file, _read(path))
        click.echo(f"Compiled {path.relative_to(_translations())}")


@search.command("reindex")
def reindex() -> None:
    """Put every post into the search index: for a search server that came after the posts."""
    posts = db.session.scalars(db.select(Post)).all()
    try:
        current_app.extensions["search"].add(posts)
    except SearchUnavailable as error:
        raise click.ClickException(f"Search is unavailable: {error}") from error
    click.echo(f"Indexed {len(posts)} posts")


def _translations() -> Path:
    return Path(current_app.root_path) / "translations"


def _sources() -> list[Path]:
    return sorted(_translations().glob("*/LC_MESSAGES/messages.po"))


def _extract() -> Catalog:
    catalog = Catalog(project="microblog", version="1", fuzzy=False, header_comment="# Texts of the microblog.")
    for path, _line, message, comments, context in extract_from_dir(current_app.root_path, METHODS, keywords=KEYWORDS):
        catalog.add(message, locations=[(path, 0)], auto_comments=comments, context=context)
    return catalog


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3])


def _write(catalog: Catalog, path: Path) -> None:
    with path.open("wb") as file:
        write_po(file, catalog, width=110, include_lineno=False)
    click.echo(f"Wrote {path.relative_to(_translations())}")
