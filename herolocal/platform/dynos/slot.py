"""One place of the formation, such as `web.1`: keeps a dyno alive in it, through crashes, restarts and releases."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from herolocal.contracts.network import Ports
from herolocal.errors import MachineError
from herolocal.model.dyno import Event, State, after, process_type
from herolocal.model.formation import WEB
from herolocal.model.limits import BOOT_TIMEOUT, CRASH_BACKOFF_CEILING, CRASH_BACKOFF_FIRST, DynoSize
from herolocal.platform.dynos.life import Life, LogLine, Machine, Role, RunnableRelease, Work

LOOPBACK = ("127.", "::1")


@dataclass(frozen=True, slots=True)
class Order:
    """What a slot is told: stop, or start anew, with another release or size where given."""

    reason: str
    stop: bool = False
    kill: bool = False
    release: RunnableRelease | None = None
    size: DynoSize | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a slot needs of its manager: a life made for a role, tasks that may outlive it, and news told."""

    live: Callable[[Role, RunnableRelease], Life]
    spawn: Callable[[str, Work], None]
    changed: Callable[[], None]
    log: LogLine


def cool_off(crashes: int) -> float:
    """Seconds to wait after so many crashes in a row: none after the first, then growing.

    https://devcenter.heroku.com/changelog-items/344
    """
    if crashes <= 1:
        return 0.0
    return min(CRASH_BACKOFF_FIRST * float(1 << min(crashes - 2, 30)), CRASH_BACKOFF_CEILING)


class Slot:
    """`supervise` runs until an order to stop was carried out."""

    def __init__(self, machine: Machine, hooks: Hooks, release: RunnableRelease, name: str, size: DynoSize) -> None:
        self.name = name
        self.type = process_type(name)
        self.size = size
        self.release = release
        self.state = State.DOWN
        self.since: datetime = machine.clock.now()
        self.life: Life | None = None
        self.stopped = asyncio.Event()
        self._machine = machine
        self._hooks = hooks
        self._order: Order | None = None
        self._ordered = asyncio.Event()
        self._crashes = 0

    @property
    def command(self) -> str:
        return self.release.commands[self.type]

    @property
    def is_routable(self) -> bool:
        """Whether the router may send requests here."""
        return self.type == WEB and self.state is State.UP

    def order(self, order: Order) -> None:
        """Give an order; a stop is never replaced by a later restart, but may become a kill."""
        waiting = self._order
        if waiting is not None and waiting.stop:
            order = replace(waiting, kill=waiting.kill or order.kill)
        elif waiting is not None:  # what it brings must not be lost with it
            order = replace(order, release=order.release or waiting.release, size=order.size or waiting.size)
        if order.kill and self.life is not None:
            self.life.kill(order.reason)
        self._order = order
        self._ordered.set()

    async def supervise(self) -> None:
        """Start, and start again after every end, until told to stop."""
        try:
            await self._keep_alive()
        finally:
            self._enter(State.DOWN)
            self.stopped.set()

    async def _keep_alive(self) -> None:
        while True:
            try:
                life = self._begin()
            except MachineError as error:  # no port is free, or no descriptor: later there may be one
                self._hooks.log(f"herolocal: {error}")
                self._enter(State.CRASHED)
                self._crashes += 1
                if not await self._cooled():
                    return
                continue
            await self._until_end_or_order(life)
            order = self._take_order()
            if order is not None and order.stop:
                await self._stop(life, order)
                return
            if order is not None:
                self._restart(life, order)
            elif not await self._crashed(life):
                return

    # one life -------------------------------------------------------------------------------------------------------

    def _begin(self) -> Life:
        port = self._machine.ports.lend() if self.type == WEB else None
        self.life = life = self._hooks.live(Role(self.name, self.command, self.size, port), self.release)
        life.reason = "crash"  # of an end that nobody asks for; who asks says another
        if self.state is State.CRASHED:
            self._change(Event.START)
        elif self.state is State.DOWN:
            self._enter(State.STARTING)
        self._hooks.log(f"Starting process with command `{self.command}`")
        self._hooks.spawn(self.name, life.run)
        return life

    async def _until_end_or_order(self, life: Life) -> None:
        """Boot, then run: returns when the process has ended or an order waits."""
        if not await self._boot(life) or life.exited.done() or self._ordered.is_set():
            return
        self._change(Event.READY)
        await self._first_of(life)

    async def _boot(self, life: Life) -> bool:
        """Whether it came up: a web dyno by binding $PORT within the limit (R10), any other by starting."""
        if life.role.port is None:
            await self._first_of(life, life.started)
            return life.started.done() and not life.started.cancelled()
        bound = asyncio.ensure_future(self._bound(self._machine.ports, life.role.port))
        limit = asyncio.ensure_future(self._machine.clock.sleep(BOOT_TIMEOUT))
        try:
            await self._first_of(life, bound, limit)
            if limit.done() and not bound.done() and not life.exited.done():
                await self._boot_timeout(life)
            return bound.done()
        finally:
            bound.cancel()
            limit.cancel()

    async def _bound(self, ports: Ports, port: int) -> None:
        """Return once the router could reach it; a listener on the loopback alone is explained, and does not count."""
        addresses = await ports.wait_until_bound(port)
        if all(address.startswith(LOOPBACK) for address in addresses):
            self._hooks.log(
                f"herolocal: the web process listens on {', '.join(addresses)} port {port} only. Heroku's router "
                "cannot reach that: bind 0.0.0.0. It will be stopped with R10, as on Heroku."
            )
            await asyncio.get_running_loop().create_future()

    async def _boot_timeout(self, life: Life) -> None:
        self._hooks.log("Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch")
        self._hooks.log("Stopping process with SIGKILL")
        life.kill("killed")
        await asyncio.wait({life.exited})

    async def _first_of(self, life: Life, *others: "asyncio.Future[Any]") -> None:
        """Wait for the life's end, an order, or one of `others`."""
        ordered = asyncio.ensure_future(self._ordered.wait())
        waits: set[asyncio.Future[Any]] = {life.exited, ordered, *others}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ordered.cancel()

    # ends -----------------------------------------------------------------------------------------------------------

    def _take_order(self) -> Order | None:
        order, self._order = self._order, None
        self._ordered.clear()
        return order

    def _restart(self, life: Life, order: Order) -> None:
        """The new one starts when the old one gets its SIGTERM; nobody waits for the old one's end.

        https://devcenter.heroku.com/articles/dyno-shutdown-behavior
        """
        self._renew(order)
        if not life.exited.done():
            self._hooks.log("Restarting")
            if self.state is State.UP:
                self._change(Event.RESTART)
            self._hooks.spawn(self.name, lambda: self._retire(life, order.reason))

    def _renew(self, order: Order) -> None:
        """What follows begins anew, with what the order brings."""
        self._crashes = 0
        self.release = order.release or self.release
        self.size = order.size or self.size

    async def _retire(self, life: Life, reason: str) -> None:
        await life.stop(reason)
        self._hooks.log(f"Process exited with status {life.exited.result()}")

    async def _stop(self, life: Life, order: Order) -> None:
        if not life.exited.done():
            if self.state is not State.DOWN:
                self._change(Event.STOP)
            if order.kill:
                life.kill(order.reason)
                await asyncio.wait({life.exited})
            else:
                await life.stop(order.reason)
            self._hooks.log(f"Process exited with status {life.exited.result()}")
        await life.finished.wait()

    async def _crashed(self, life: Life) -> bool:
        """Account for an end nobody asked for, wait out the cool-off; False when told to stop meanwhile."""
        self._crashes = 1 if self._was_up_long() else self._crashes + 1
        self._hooks.log(f"Process exited with status {life.exited.result()}")
        self._change(Event.EXIT)
        await life.finished.wait()
        return await self._cooled()

    async def _cooled(self) -> bool:
        """Wait out the cool-off, or an order; False for one to stop."""
        pause = cool_off(self._crashes)
        if pause:
            self._hooks.log(f"herolocal: crashed {self._crashes} times in a row, next start in {pause:.0f} s")
            await self._cool(pause)
        order = self._take_order()
        if order is None:
            return True
        if not order.stop:
            self._renew(order)
        return not order.stop

    async def _cool(self, pause: float) -> None:
        sleep = asyncio.ensure_future(self._machine.clock.sleep(pause))
        ordered = asyncio.ensure_future(self._ordered.wait())
        try:
            await asyncio.wait({sleep, ordered}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            ordered.cancel()

    def _was_up_long(self) -> bool:
        """A dyno that ran well for longer than the ceiling of the cool-off starts counting anew."""
        up_for = (self._machine.clock.now() - self.since).total_seconds()
        return self.state is State.UP and up_for > CRASH_BACKOFF_CEILING

    # states ---------------------------------------------------------------------------------------------------------

    def _change(self, event: Event) -> None:
        """Change state by the table, and say so in the log."""
        target = after(self.state, event)
        if target is None or target is self.state:
            return
        self._hooks.log(f"State changed from {self.state} to {target}")
        self._enter(target)

    def _enter(self, state: State) -> None:
        self.state = state
        self.since = self._machine.clock.now()
        self._hooks.changed()
