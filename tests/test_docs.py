"""Every option, add-on, error code and link of the API stands under a heading of the documentation."""

import re
from pathlib import Path

import click
import pytest

from herolocal.adapters.templates import read_templates
from herolocal.interfaces.api.heroku import HerokuLinks
from herolocal.interfaces.api.local import LocalLinks
from herolocal.interfaces.api.one_offs import OneOffLinks
from herolocal.interfaces.api.rendezvous import Rendezvous
from herolocal.interfaces.cli.main import cli
from herolocal.model.codes import CODES
from herolocal.settings import OPTIONS, VARIABLES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "herolocal" / "docs"


def headings(page: str) -> set[str]:
    return set(re.findall(r"(?m)^#+ (.+)$", (DOCS / page).read_text()))


def test_every_command_has_a_heading() -> None:
    assert set(cli.commands) <= headings("commands.md")


def test_every_option_of_the_settings_table_has_a_heading_and_is_an_option_of_a_command() -> None:
    documented = {heading.removeprefix("--") for heading in headings("commands.md") if heading.startswith("--")}
    assert documented == set(OPTIONS)
    offered = {
        name.removeprefix("--")
        for command in cli.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    assert set(OPTIONS) <= offered


def test_every_add_on_has_a_heading() -> None:
    assert set(read_templates()) <= headings("addons.md")


def test_every_code_has_a_heading_and_those_of_the_log_too() -> None:
    source = "".join(path.read_text() for path in (ROOT / "herolocal").rglob("*.py"))
    logged = set(re.findall(r"Error ([RL]\d+) \(", source))
    assert {code.name for code in CODES} | logged <= headings("error-codes.md")


def test_every_link_of_the_api_has_a_heading() -> None:
    routes = [
        *HerokuLinks(None, str).routes(),  # type: ignore[arg-type]  # routes only
        *LocalLinks(None).routes(),  # type: ignore[arg-type]  # routes only
        *OneOffLinks(None, Rendezvous(lambda: None)).routes(),  # type: ignore[arg-type,return-value]  # routes only
    ]
    found = {f"{method} {route.path}" for route in routes for method in (route.methods or ()) if method != "HEAD"}
    assert {heading for heading in headings("api.md") if "/" in heading} == found


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_named_in_a_page(name: str) -> None:
    assert any(name in path.read_text() for path in [*DOCS.glob("*.md"), ROOT / "README.md"])
