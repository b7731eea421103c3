"""A dyno's name, its states and what leads from one to the next."""

from enum import StrEnum


class State(StrEnum):
    """As in the Platform API (`dyno.state`)."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    IDLE = "idle"
    CRASHED = "crashed"


class Event(StrEnum):
    """What happens to a dyno."""

    START = "start"
    READY = "ready"
    EXIT = "exit"
    STOP = "stop"
    RESTART = "restart"
    SLEEP = "sleep"


# A restart goes through `starting` at once, the old process still ending beside the new one; a stop goes to `down`.
# Source: the sequences of real logs (`up to starting`, `starting to crashed`, `up to down`), and
# https://devcenter.heroku.com/articles/dyno-shutdown-behavior.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.DOWN: {Event.START: State.STARTING},
    State.STARTING: {
        Event.READY: State.UP,
        Event.EXIT: State.CRASHED,
        Event.STOP: State.DOWN,
        Event.RESTART: State.STARTING,
    },
    State.UP: {
        Event.EXIT: State.CRASHED,
        Event.STOP: State.DOWN,
        Event.RESTART: State.STARTING,
        Event.SLEEP: State.DOWN,
    },
    State.IDLE: {Event.START: State.STARTING, Event.STOP: State.DOWN},
    State.CRASHED: {Event.START: State.STARTING, Event.STOP: State.DOWN, Event.RESTART: State.STARTING},
}


def after(state: State, event: Event) -> State | None:
    """The state `event` leads to, or None when it does not apply."""
    return TRANSITIONS[state].get(event)


def process_type(name: str) -> str:
    """`web` for `web.1`."""
    return name.rpartition(".")[0] or name
