"""The links of Heroku's Platform API that herolocal has: apps, dynos, formation, releases, log sessions."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from herolocal.contracts.store import AppRecord
from herolocal.errors import NotFound, UsageError
from herolocal.interfaces.api.body import flag, json_body, number, text
from herolocal.interfaces.api.serialize import (
    Json,
    addon_json,
    app_json,
    dyno_json,
    formation_json,
    release_json,
    time_json,
)
from herolocal.model import formation
from herolocal.model.formation import RELEASE, FormationRow
from herolocal.model.limits import size_named
from herolocal.platform.apps import Apps

_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class LogSession:
    """What a log session asked for; its URL is its secret."""

    app: str
    lines: int
    tail: bool
    dyno: str
    source: str


class HerokuLinks:
    """Handlers of `/apps/…`; `base_url` is the API's own address."""

    def __init__(self, apps: Apps, base_url: Callable[[], str]) -> None:
        self._apps = apps
        self._base_url = base_url
        self._sessions: dict[str, LogSession] = {}

    def routes(self) -> list[Route]:
        """Method, path, handler."""
        return [
            Route("/apps", self.apps, methods=["GET"]),
            Route("/apps/{app}", self.app, methods=["GET"]),
            Route("/apps/{app}/dynos", self.dynos, methods=["GET"]),
            Route("/apps/{app}/dynos", self.restart, methods=["DELETE"]),
            Route("/apps/{app}/dynos/{selector}", self.dyno, methods=["GET"]),
            Route("/apps/{app}/dynos/{selector}", self.restart, methods=["DELETE"]),
            Route("/apps/{app}/formations/{selector}", self.restart, methods=["DELETE"]),
            Route("/apps/{app}/formation", self.formation, methods=["GET"]),
            Route("/apps/{app}/formation", self.scale, methods=["PATCH"]),
            Route("/apps/{app}/releases", self.releases, methods=["GET"]),
            Route("/apps/{app}/addons", self.addons, methods=["GET"]),
            Route("/apps/{app}/log-sessions", self.log_session, methods=["POST"]),
            Route("/_herolocal/streams/{secret}", self.stream, methods=["GET"]),
        ]

    # apps -----------------------------------------------------------------------------------------------------------

    async def apps(self, _request: Request) -> Response:
        """Every app of this home."""
        return JSONResponse([self._app_json(app) for app in self._apps.records()])

    async def app(self, request: Request) -> Response:
        """One app, by name or id."""
        return JSONResponse(self._app_json(self._record(request)))

    def _record(self, request: Request) -> AppRecord:
        return self._apps.record(request.path_params["app"])

    def _app_json(self, app: AppRecord) -> Json:
        return app_json(
            app,
            web_url=f"http://localhost:{app.port}/" if app.port else "",
            git_url=f"{self._base_url()}/{app.name}.git",
            owner=self._apps.means.user,
        )

    # dynos ----------------------------------------------------------------------------------------------------------

    async def dynos(self, request: Request) -> Response:
        """The dynos that run, one-off ones too; an app that is down has none."""
        record = self._record(request)
        if not self._apps.is_running(record.name):
            return JSONResponse([])
        app = self._apps.running(record.name)
        current = app.releases.current()
        return JSONResponse([dyno_json(record, dyno, current) for dyno in app.dynos.dynos()])

    async def dyno(self, request: Request) -> Response:
        """One dyno, by name or id."""
        record = self._record(request)
        app = self._apps.running(record.name)
        selector = request.path_params["selector"]
        for dyno in app.dynos.dynos():
            if selector in (dyno.name, dyno.id):
                return JSONResponse(dyno_json(record, dyno, app.releases.current()))
        raise NotFound("Couldn't find that dyno.")

    async def restart(self, request: Request) -> Response:
        """Restart all dynos, one type or one dyno; the slug stays the one of the release."""
        names = self._apps.running(self._record(request).name).dynos.restart(request.path_params.get("selector"))
        return JSONResponse({"restarted": list(names)}, status_code=202)

    # formation ------------------------------------------------------------------------------------------------------

    async def formation(self, request: Request) -> Response:
        """All rows of the formation."""
        record = self._record(request)
        return JSONResponse(self._rows_json(record, self._apps.means.state.formation(record.name)))

    async def scale(self, request: Request) -> Response:
        """`{"updates": [{"type", "quantity": 2 | "2" | "+1", "size"?}]}`; answers with the rows that were named."""
        record = self._record(request)
        updates = (await json_body(request)).get("updates")
        if not isinstance(updates, list):
            raise UsageError("`updates` must be a list of {type, quantity, size}.")
        rows = self._apps.means.state.formation(record.name)
        changes = [_change(update, rows) for update in updates]
        named = {change.type for change in changes}
        result = self._apps.running(record.name).scale(changes)
        return JSONResponse(self._rows_json(record, [row for row in result if row.type in named]))

    def _rows_json(self, record: AppRecord, rows: "list[FormationRow] | tuple[FormationRow, ...]") -> list[Json]:
        commands = self._apps.running(record.name).commands if self._apps.is_running(record.name) else {}
        return [formation_json(record, row, commands.get(row.type, "")) for row in rows if row.type != RELEASE]

    # releases and add-ons -------------------------------------------------------------------------------------------

    async def releases(self, request: Request) -> Response:
        """The ledger, oldest first."""
        record = self._record(request)
        releases = self._apps.means.state.releases(record.name)
        newest = max((item.version for item in releases if item.status == "succeeded"), default=0)
        return JSONResponse([release_json(record, item, current=item.version == newest) for item in releases])

    async def addons(self, request: Request) -> Response:
        """The add-ons of an app; `state` is `provisioned` while its server runs."""
        record = self._record(request)
        running = self._apps.running(record.name).attached if self._apps.is_running(record.name) else ()
        config = {item.record.name: sorted(item.config_vars) for item in running}
        return JSONResponse(
            [
                addon_json(record, addon, config.get(addon.name, []), "provisioned")
                for addon in self._apps.means.addons.records(record.name)
            ]
        )

    # logs -----------------------------------------------------------------------------------------------------------

    async def log_session(self, request: Request) -> Response:
        """Open a log session; `logplex_url` serves Server-Sent Events, or plain lines to `Accept: text/plain`."""
        app = self._apps.running(self._record(request).name)
        body = await json_body(request)
        session = LogSession(
            app=app.record.name,
            lines=number(body, "lines", 100),
            tail=flag(body, "tail"),
            dyno=text(body, "dyno") or text(body, "dyno_name") or text(body, "type"),
            source=text(body, "source"),
        )
        secret = secrets.token_urlsafe(24)
        self._sessions[secret] = session
        while len(self._sessions) > _SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        at = time_json(self._apps.means.clock.now())
        url = f"{self._base_url()}/_herolocal/streams/{secret}"
        return JSONResponse({"created_at": at, "id": secret, "logplex_url": url, "updated_at": at}, status_code=201)

    async def stream(self, request: Request) -> Response:
        """The lines of a log session."""
        session = self._sessions.get(request.path_params["secret"])
        if session is None or not self._apps.is_running(session.app):
            raise NotFound("This log session is over.")
        plain = "text/plain" in request.headers.get("accept", "")
        media_type = "text/plain; charset=utf-8" if plain else "text/event-stream"
        return StreamingResponse(self._lines(session, plain=plain), media_type=media_type)

    async def _lines(self, session: LogSession, *, plain: bool) -> AsyncIterator[bytes]:
        logplex = self._apps.running(session.app).logplex
        async with logplex.tail(
            dyno=session.dyno or None, source=session.source or None, lines=session.lines, tail=session.tail
        ) as lines:
            async for data in lines:
                yield data if plain else _event(data)


def _event(data: bytes) -> bytes:
    """One Server-Sent Event holding whole lines."""
    lines = data.decode("utf-8", "replace").replace("\r", "").removesuffix("\n").split("\n")
    return "".join(f"data: {line}\n" for line in lines).encode() + b"\n"


def _change(update: object, rows: tuple[FormationRow, ...]) -> formation.Change:
    """One update of a PATCH; without a quantity only the size changes."""
    if not isinstance(update, dict):
        raise UsageError("Each of `updates` must be an object.")
    type_ = text(update, "type")
    size = size_named(text(update, "size")) if update.get("size") else None
    quantity = update.get("quantity")
    if quantity is None:
        quantity = next((row.quantity for row in rows if row.type == type_), 0)
    sign = "" if str(quantity).startswith(("+", "-")) else "="
    change = formation.parse_one(f"{type_}{sign}{quantity}")
    return formation.Change(change.type, change.quantity, relative=change.relative, size=size)
