"""The way into one app: its router on a port of its own, fed by what the dyno manager knows."""

import asyncio

from herolocal.model import codes
from herolocal.model.codes import Code
from herolocal.model.dyno import State
from herolocal.model.formation import WEB
from herolocal.platform.dynos.manager import DynoManager
from herolocal.platform.logplex import Logplex
from herolocal.platform.means import Means
from herolocal.platform.router.exchange import Shared, Target
from herolocal.platform.router.pool import Pool
from herolocal.platform.router.server import Router

FIRST_PORT = 5006


class Web:
    """Routes, and the listening port."""

    def __init__(self, app: str, dynos: DynoManager, logplex: Logplex, means: Means) -> None:
        self._app = app
        self._dynos = dynos
        self._means = means
        self._pool = Pool(means.clock)
        self._serving: asyncio.Task[None] | None = None
        self.port = 0
        self._router = Router(
            Shared(
                routes=self,
                pool=self._pool,
                log=lambda text: logplex.line("heroku", "router", text),
                clock=means.clock,
                random=means.random,
                quarantine={},
            )
        )

    def open(self, asked: int | None, remembered: int | None, group: asyncio.TaskGroup) -> str | None:
        """Listen on the port asked for, or fail; else on the remembered one or the next free. Returns who held that."""
        note = None
        if asked is not None:
            sockets = self._means.listeners.bind(asked)
        else:
            sockets, note = self._means.listeners.bind_from(remembered or FIRST_PORT)
        self.port = sockets[0].getsockname()[1]
        self._serving = group.create_task(self._router.serve(sockets, self._means.tls))
        return note

    @property
    def url(self) -> str:
        """Where the app answers."""
        return f"http://localhost:{self.port}"

    @property
    def urls(self) -> tuple[str, str]:
        """`url`, and the name that browsers and curl resolve by themselves."""
        return self.url, f"http://{self._app}.localhost:{self.port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait({self._serving})

    # Routes ---------------------------------------------------------------------------------------------------------

    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(target.name, target.port) for target in self._dynos.web_targets())

    def refusal(self) -> Code | None:
        states = self._dynos.states(WEB)
        if not states:
            return None if self._dynos.release is None else codes.H14
        return codes.H10 if all(state is State.CRASHED for state in states) else None

    async def change(self) -> None:
        await self._dynos.news()

    def changed(self) -> None:
        """Dynos came or went: connections to those that went are of no use."""
        self._pool.forget({target.port for target in self._dynos.web_targets()})
