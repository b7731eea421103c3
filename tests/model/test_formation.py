"""How a formation is asked for, and what comes of it."""

import pytest

from herolocal.errors import InvalidFormation
from herolocal.model.formation import Change, FormationRow, apply, initial, parse
from herolocal.model.limits import size_named

TYPES = ("web", "worker", "release")


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("web=2", (Change("web", 2),)),
        ("web=2,worker=1", (Change("web", 2), Change("worker", 1))),
        ("web+1 worker-1", (Change("web", 1, relative=True), Change("worker", -1, relative=True))),
        ("web=2:standard-2x", (Change("web", 2, size=size_named("Standard-2X")),)),
        ("worker-1=3", (Change("worker-1", 3),)),
    ],
)
def test_a_formation_is_read(text: str, changes: tuple[Change, ...]) -> None:
    assert parse(text) == changes


@pytest.mark.parametrize("text", ["web", "web=", "web=x", "=2", "web=2:huge", "web==2", "web=" + "9" * 5000])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidFormation):
        parse(text)


def test_one_dyno_of_each_type_but_release_unless_app_json_says_otherwise() -> None:
    rows = initial(TYPES, [FormationRow("worker", 0)])
    assert rows == (FormationRow("web", 1), FormationRow("worker", 0))


def test_app_json_cannot_ask_for_more_dynos_than_heroku_gives() -> None:
    with pytest.raises(InvalidFormation, match="more than 100"):
        initial(TYPES, [FormationRow("web", 105)])


def test_chosen_types_run_and_the_others_can_be_scaled_later() -> None:
    rows = initial(TYPES, [FormationRow("worker", 0)], ["worker"])
    assert rows == (FormationRow("web", 0), FormationRow("worker", 1))


@pytest.mark.parametrize("name", ["wep", "release"])
def test_a_chosen_type_must_be_one_that_runs(name: str) -> None:
    with pytest.raises(InvalidFormation, match=name):
        initial(TYPES, (), [name])


def test_changes_apply_to_what_there_is() -> None:
    rows = (FormationRow("web", 1), FormationRow("worker", 1))
    assert apply(rows, parse("web+2,worker-5"), TYPES) == (FormationRow("web", 3), FormationRow("worker", 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [("wep=1", "The Procfile has: web, worker"), ("release=1", "Cannot scale `release`"), ("web=101", "more than 100")],
)
def test_a_formation_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidFormation, match=message):
        apply((), parse(text), TYPES)
