"""What add-on servers have to say to an app: a sentence in its log, not one for each attempt of a client."""

import asyncio
from collections.abc import Callable

from herolocal.contracts.server import ServerRequest
from herolocal.model.addon import plain_refused

OnNotice = Callable[[str, str], None]
"""Receives an app's name and a sentence for its log."""

_QUIET_SECONDS = 30.0


def ignore(_app: str, _text: str) -> None:
    """For those who do not listen."""


class Notices:
    """Passes notices on; a refusal of the same add-on is told again after half a minute at the earliest."""

    def __init__(self, on_notice: OnNotice) -> None:
        self._on_notice = on_notice
        self._told: dict[str, float] = {}

    def say(self, request: ServerRequest, text: str) -> None:
        """Any sentence."""
        self._on_notice(request.app, text)

    def refused(self, request: ServerRequest, text: str) -> None:
        """A client came without TLS; `text` is what the server said to it."""
        now = asyncio.get_running_loop().time()
        if now - self._told.get(request.addon, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told[request.addon] = now
            self.say(request, plain_refused(request.template, request.addon, text))
