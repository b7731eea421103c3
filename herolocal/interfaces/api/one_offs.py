"""One-off dynos: `POST /apps/{app}/dynos`, attached through the rendezvous or running into the log."""

import asyncio
import shlex
from collections.abc import Mapping

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from herolocal.contracts.process import Terminal
from herolocal.errors import HerolocalError, NotFound, UsageError
from herolocal.interfaces.api.body import flag, json_body, number, text
from herolocal.interfaces.api.rendezvous import Meeting, Rendezvous, feed, finish
from herolocal.interfaces.api.serialize import dyno_json
from herolocal.model.dyno import State, process_type
from herolocal.model.limits import DEFAULT_SIZE, size_named
from herolocal.platform.apps import Apps
from herolocal.platform.dynos.life import Life, Role
from herolocal.platform.dynos.manager import DynoView
from herolocal.platform.running import RunningApp

_KEPT_STATUSES = 1000


class OneOffLinks:
    """Runs commands in dynos of their own."""

    def __init__(self, apps: Apps, rendezvous: Rendezvous) -> None:
        self._apps = apps
        self._rendezvous = rendezvous
        self._lives: dict[tuple[str, str], Life] = {}
        self._statuses: dict[tuple[str, str], int] = {}

    def routes(self) -> list[Route]:
        """Method, path, handler."""
        return [
            Route("/apps/{app}/dynos", self.run, methods=["POST"]),
            Route("/_herolocal/apps/{app}/one-offs/{name}", self.status, methods=["GET"]),
            Route("/_herolocal/apps/{app}/one-offs/{name}/resize", self.resize, methods=["POST"]),
        ]

    async def run(self, request: Request) -> Response:
        """`{"command", "attach", "env", "force_no_tty", "size"}` as the Heroku CLI sends them."""
        body = await json_body(request)
        app = self._apps.running(request.path_params["app"])
        app.dynos.runnable()
        role = _role(app, body)
        app.logplex.line(
            "app", "api", f"Starting process with command `{role.command}` by user {self._apps.means.user}"
        )
        view = _awaiting(app, role)
        if not flag(body, "attach"):
            self._begin(app, role)
            return JSONResponse(dyno_json(app.record, view, app.releases.current()), status_code=201)
        meeting = await self._rendezvous.expect()
        url = self._rendezvous.attach_url(meeting)
        content = dyno_json(app.record, view, app.releases.current(), attach_url=url)
        return JSONResponse(content, status_code=201, background=BackgroundTask(self._attached, app, role, meeting))

    def _begin(self, app: RunningApp, role: Role, meeting: Meeting | None = None) -> Life:
        life = app.dynos.one_off(role, output=meeting.output if meeting else None)
        key = (app.record.name, role.name)
        self._lives[key] = life
        life.exited.add_done_callback(lambda exited: self._remember(key, exited.result()))
        return life

    async def _attached(self, app: RunningApp, role: Role, meeting: Meeting) -> None:
        """Wait for the client, run, carry bytes both ways, close. A client that leaves means SIGHUP (R16)."""
        app.logplex.line("heroku", role.name, "Awaiting client")
        try:
            if not await self._rendezvous.wait(meeting):
                app.logplex.line("heroku", role.name, "Error R13 (Attach error) -> Failed to attach to process")
                return
            life = self._begin(app, role, meeting)
            carry = asyncio.ensure_future(self._carry(app, life, meeting))
            try:
                await asyncio.wait({life.exited})
            finally:
                carry.cancel()
                await asyncio.wait({carry})
        except HerolocalError as error:  # the app ended while the client was on its way
            app.logplex.line("heroku", role.name, f"herolocal: {error}")
        finally:
            await finish(meeting)

    async def _carry(self, app: RunningApp, life: Life, meeting: Meeting) -> None:
        """Both ways until the client hangs up, then end its dyno."""
        await asyncio.wait({life.started})
        process_input = None if life.started.cancelled() else life.started.result().input
        if process_input is None:
            return
        feeding = asyncio.ensure_future(feed(meeting, process_input, terminal=life.role.terminal is not None))
        leaving = asyncio.ensure_future(meeting.gone())
        pacing = asyncio.ensure_future(meeting.pace(process_input))
        try:
            await asyncio.wait({feeding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (feeding, leaving, pacing):
                task.cancel()
            await asyncio.gather(feeding, leaving, pacing, return_exceptions=True)
        text_ = "Client connection closed. Sending SIGHUP to all processes"
        app.logplex.line("heroku", life.role.name, text_)
        process_input.hang_up()
        await app.dynos.stop_one_off(life)

    def _remember(self, key: tuple[str, str], status: int) -> None:
        self._statuses[key] = status
        self._lives.pop(key, None)
        while len(self._statuses) > _KEPT_STATUSES:
            self._statuses.pop(next(iter(self._statuses)))

    def _key(self, request: Request) -> tuple[str, str]:
        return self._apps.record(request.path_params["app"]).name, request.path_params["name"]

    async def status(self, request: Request) -> Response:
        """The exit status of a one-off dyno, once it has ended; waits for a running one."""
        key = self._key(request)
        if life := self._lives.get(key):
            await asyncio.wait({life.exited})
            return JSONResponse({"exit_status": life.exited.result()})
        if key not in self._statuses:
            raise NotFound(f"Couldn't find the one-off dyno {key[1]}.")
        return JSONResponse({"exit_status": self._statuses[key]})

    async def resize(self, request: Request) -> Response:
        """`{"columns", "lines"}`: the person's window has another size now."""
        body = await json_body(request)
        life = self._lives.get(self._key(request))
        if life is not None and life.process is not None and life.process.input is not None:
            life.process.input.resize(number(body, "columns", 80), number(body, "lines", 24))
        return JSONResponse({})


def _role(app: RunningApp, body: Mapping[str, object]) -> Role:
    values = dict(body)
    command = text(values, "command")
    if not command.strip():
        raise UsageError("`command` is required: the command to run.")
    env = values.get("env") or {}
    if not isinstance(env, dict):
        raise UsageError("`env` must be an object.")
    environment = {str(name): str(value) for name, value in env.items()}
    terminal = None
    if flag(values, "attach") and not flag(values, "force_no_tty") and "COLUMNS" in environment:
        terminal = Terminal(
            number(dict(environment), "COLUMNS", 80),
            number(dict(environment), "LINES", 24),
            environment.get("TERM", "xterm"),
        )
    return Role(
        name=app.one_off_name(text(values, "type") or "run"),
        command=substituted(command, app.commands),
        size=size_named(text(values, "size")) if values.get("size") else DEFAULT_SIZE,
        terminal=terminal,
        interactive=flag(values, "attach"),
        environment=environment,
    )


def substituted(command: str, commands: Mapping[str, str]) -> str:
    """`worker 42` runs the Procfile's command of `worker` with the arguments appended.

    https://devcenter.heroku.com/articles/one-off-dynos
    """
    first, _, rest = command.strip().partition(" ")
    if first not in commands or shlex.quote(first) != first:
        return command
    return f"{commands[first]} {rest}".strip()


def _awaiting(app: RunningApp, role: Role) -> DynoView:
    now = app.now()
    release = app.releases.current()
    return DynoView(
        id="",
        name=role.name,
        type=process_type(role.name),
        size=role.size,
        state=State.STARTING,
        since=now,
        created_at=now,
        command=role.command,
        release=release.version if release else 0,
        port=None,
    )
