"""What reaches a slug."""

from herolocal.model.slug import gitignored, slugignored


def test_slugignore_drops_by_gitignores_patterns_without_negation() -> None:
    files = ("a.py", "docs/x.md", "tests/t.py", "keep.psd", ".git/config", "sub/.DS_Store")
    assert slugignored(files, "# comment\ndocs/\n*.psd\n!keep.psd\n") == ("a.py", "tests/t.py")


def test_gitignore_counts_where_there_is_no_git_nested_ones_too() -> None:
    files = ("a.py", "app.db", "sub/x.tmp", "sub/y.py", "x.tmp")
    assert gitignored(files, {"": "*.db\n", "sub": "*.tmp\n"}) == ("a.py", "sub/y.py", "x.tmp")
