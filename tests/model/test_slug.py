"""What reaches a slug."""

import pytest

from herolocal.errors import UsageError
from herolocal.model.slug import gitignored, slugignored


def test_slugignore_drops_by_gitignores_patterns_without_negation() -> None:
    files = ("a.py", "docs/x.md", "tests/t.py", "keep.psd", ".git/config", "sub/.DS_Store")
    assert slugignored(files, "# comment\ndocs/\n*.psd\n!keep.psd\n") == ("a.py", "tests/t.py")


def test_a_line_of_slugignore_that_is_no_pattern_is_named_and_one_of_gitignore_matches_nothing() -> None:
    with pytest.raises(UsageError, match=r"\.slugignore:2: cannot read the pattern"):
        slugignored(["a"], "b\n\\\n")
    assert gitignored(["a", "b"], {"": "a\\\nb\n"}) == ("a",)


def test_gitignore_counts_where_there_is_no_git_nested_ones_too() -> None:
    files = ("a.py", "app.db", "sub/x.tmp", "sub/y.py", "x.tmp")
    assert gitignored(files, {"": "*.db\n", "sub": "*.tmp\n"}) == ("a.py", "sub/y.py", "x.tmp")
