"""What sort of file was lost, and what it means."""

from datetime import UTC, datetime

import pytest

from herolocal.model.loss import Kind, Wipe, Written, by_weight, classify, loss_of, shared_nothing_hints

SQLITE = b"SQLite format 3\0rest"
WIPE = Wipe(
    "blog", "web.1", "id", 3, "restart", datetime(2026, 1, 1, tzinfo=UTC), "flask translate compile; gunicorn a:b"
)


@pytest.mark.parametrize(
    ("path", "head", "kind"),
    [
        ("app.db", SQLITE, Kind.DATABASE),
        ("no-name-for-it", SQLITE, Kind.DATABASE),
        ("app.db-wal", b"x", Kind.DATABASE),
        ("logs/microblog.log", b"x", Kind.LOG),
        ("server.log.1", b"x", Kind.LOG),
        ("uploads/cat", b"x", Kind.UPLOAD),
        ("static/cat.png", b"\x89PNG", Kind.UPLOAD),
        ("app/translations/es/LC_MESSAGES/messages.mo", b"x", Kind.TRANSLATION),
        ("app/__pycache__/a.cpython-311.pyc", b"x", Kind.BYTECODE),
        (".gunicorn/gunicorn.ctl", b"", Kind.CACHE),
        ("celerybeat-schedule", b"x", Kind.CACHE),
        ("/tmp/x", b"x", Kind.TEMPORARY),
        ("notes.txt", b"x", Kind.OTHER),
    ],
)
def test_a_kind_is_told_by_header_name_and_place(path: str, head: bytes, kind: Kind) -> None:
    assert classify(path, head) is kind


def test_what_the_procfile_makes_anew_is_no_real_loss() -> None:
    made = loss_of(Written("es/messages.mo", 6, "created"), WIPE)
    assert (made.is_real, made.advice) == (False, "rebuilt at every start by the Procfile: fine")


def test_the_database_that_is_attached_is_named() -> None:
    wipe = Wipe("a", "web.1", "i", 1, "stop", WIPE.at, attached=("heroku-postgresql",))
    assert (
        loss_of(Written("app.db", 1, "created", SQLITE), wipe).advice
        == "use DATABASE_URL (heroku-postgresql is attached)"
    )


def test_real_losses_stand_first() -> None:
    paths = {"x.pyc": 900, "small.txt": 1, "big.txt": 5}
    losses = by_weight(loss_of(Written(path, size, "created"), WIPE) for path, size in paths.items())
    assert [loss.path for loss in losses] == ["big.txt", "small.txt", "x.pyc"]


def test_what_one_web_dyno_wrote_and_another_cannot_see_is_pointed_out() -> None:
    hints = shared_nothing_hints(
        {"web.1": [Written("uploads/a.png", 1, "created")], "web.2": [Written("x.pyc", 1, "created")]}
    )
    assert [(hint.path, "web.2 cannot see it" in hint.text) for hint in hints] == [("uploads/a.png", True)]
