"""Legal names, and readable ones made of directories."""

import random

import pytest

from herolocal.errors import InvalidName
from herolocal.model.names import app_name_for, check_app_name, check_config_var, made_up


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("microblog", "microblog"),
        ("My Blog", "my-blog"),
        ("2048", "app-2048"),
        ("é", "app"),
        ("x", "x-app"),
        ("a" * 40, "a" * 30),
    ],
)
def test_a_directory_gives_a_legal_name(directory: str, name: str) -> None:
    assert check_app_name(app_name_for(directory, ())) == name


def test_a_taken_name_is_numbered() -> None:
    assert app_name_for("blog", {"blog", "blog-2"}) == "blog-3"


@pytest.mark.parametrize("name", ["Ab", "a", "1abc", "abc-", "a_b", "a" * 31])
def test_illegal_app_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_app_name(name)


@pytest.mark.parametrize("name", ["1A", "A-B", "", "A B"])
def test_illegal_config_vars_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_config_var(name)


def test_a_made_up_name_looks_like_herokus() -> None:
    prefix, adjective, number = made_up("postgresql", random.Random(1)).split("-")
    assert (prefix, adjective.isalpha(), len(number)) == ("postgresql", True, 5)
