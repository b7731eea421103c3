"""What a Procfile may say, and how a bad line is named."""

import pytest
from honcho.environ import parse_procfile

from herolocal.errors import InvalidProcfile
from herolocal.model.procfile import parse

GOOD = {
    "one": "web: gunicorn app:app",
    "compound": "web: flask db upgrade; flask translate compile; gunicorn microblog:app",
    "hyphen and underscore": "worker-1: a\nmy_worker: b",
    "no blank after the colon": "web:python app.py",
    "order is kept": "b: 1\na: 2",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_good_line_means_what_it_means_to_honcho(text: str) -> None:
    assert dict(parse(text).commands) == dict(parse_procfile(text).processes)


@pytest.mark.parametrize(
    "text",
    ["# comment\n\nweb: a\n", "web: a\r\n", "\ufeffweb: a", "  # indented\nweb: a   \n"],
    ids=["comment", "crlf", "bom", "blanks"],
)
def test_what_is_no_line_is_skipped(text: str) -> None:
    assert dict(parse(text).commands) == {"web": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web: a\nnonsense", r"Procfile:2: cannot read `nonsense`: there is no `TYPE:`"),
        ("we.b: a", r"Procfile:1: cannot read `we.b: a`: `we.b` is no name"),
        ("web:", r"Procfile:1: the process type `web` has no command"),
        (": a", r"Procfile:1: cannot read `: a`"),
        ("web: a\n\nweb: b", r"Procfile:3: the process type `web` is there already, on line 1"),
    ],
    ids=["no colon", "bad name", "no command", "empty type", "twice"],
)
def test_a_bad_line_is_named_with_its_number(text: str, message: str) -> None:
    with pytest.raises(InvalidProcfile, match=message):
        parse(text)
