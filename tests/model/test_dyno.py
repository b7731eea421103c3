"""The whole transition table, walked."""

import pytest

from herolocal.model.dyno import TRANSITIONS, Event, State, after, process_type

EXPECTED = {
    (State.DOWN, Event.START): State.STARTING,
    (State.STARTING, Event.READY): State.UP,
    (State.STARTING, Event.EXIT): State.CRASHED,
    (State.STARTING, Event.STOP): State.DOWN,
    (State.STARTING, Event.RESTART): State.STARTING,
    (State.UP, Event.EXIT): State.CRASHED,
    (State.UP, Event.STOP): State.DOWN,
    (State.UP, Event.RESTART): State.STARTING,
    (State.UP, Event.SLEEP): State.DOWN,
    (State.IDLE, Event.START): State.STARTING,
    (State.IDLE, Event.STOP): State.DOWN,
    (State.CRASHED, Event.START): State.STARTING,
    (State.CRASHED, Event.STOP): State.DOWN,
    (State.CRASHED, Event.RESTART): State.STARTING,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_each_event_leads_where_heroku_says_or_nowhere(state: State, event: Event) -> None:
    assert after(state, event) == EXPECTED.get((state, event))


def test_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("name", "type_"), [("web.1", "web"), ("my-worker.12", "my-worker"), ("web", "web")])
def test_a_name_begins_with_its_type(name: str, type_: str) -> None:
    assert process_type(name) == type_
