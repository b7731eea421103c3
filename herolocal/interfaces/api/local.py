"""herolocal's own links, below `/_herolocal`: start and stop an app, lost files, health."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from herolocal.contracts.store import Page
from herolocal.errors import UsageError
from herolocal.interfaces.api.body import flag, json_body
from herolocal.model.choices import from_json
from herolocal.platform.apps import Apps
from herolocal.platform.news import loss_json
from herolocal.platform.running import RunningApp

STREAM = "application/x-herolocal-stream"


class LocalLinks:
    """Starts, stops and tells."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps

    def routes(self) -> list[Route]:
        """Method, path, handler."""
        return [
            Route("/_herolocal/up", self.up, methods=["POST"]),
            Route("/_herolocal/apps", self.list, methods=["GET"]),
            Route("/_herolocal/apps/{app}/stop", self.stop, methods=["POST"]),
            Route("/_herolocal/apps/{app}/losses", self.losses, methods=["GET"]),
            Route("/_herolocal/apps/{app}/losses/content", self.content, methods=["GET"]),
            Route("/_herolocal/health", self.health, methods=["GET"]),
        ]

    async def up(self, request: Request) -> Response:
        """Start the app of a directory and stream its log and events; the open connection is the lease."""
        app = self._apps.start(from_json(await json_body(request)))
        app.is_claimed = True
        self._apps.hold()
        return StreamingResponse(self._watch(app), media_type=STREAM)

    async def _watch(self, app: RunningApp) -> AsyncIterator[bytes]:
        """What the app tells. A break of an attached `up`, unasked for, kills the app: its owner was killed."""
        try:
            async with app.watch() as session:
                async for data in session:
                    yield data
        finally:
            if not app.ended.is_set() and not app.choices.detach and not app.is_stopping:
                app.stop_soon(kill=True)
            self._apps.forget_request(app)
            self._apps.release()

    async def list(self, request: Request) -> Response:
        """The apps of this home, or the one of `?directory=`."""
        directory = request.query_params.get("directory")
        return JSONResponse(
            [
                {
                    "name": app.name,
                    "directory": app.directory,
                    "running": self._apps.is_running(app.name),
                    "port": app.port,
                }
                for app in self._apps.records()
                if directory in (None, app.directory)
            ]
        )

    async def stop(self, request: Request) -> Response:
        """End an app: `{"kill": bool, "volumes": bool}`. One that is down already is no error."""
        body = await json_body(request)
        name = self._apps.record(request.path_params["app"]).name
        if self._apps.is_running(name):
            await self._apps.running(name).stop(kill=flag(body, "kill"))
        if flag(body, "volumes"):
            await self._apps.forget_data(name)
        return JSONResponse({"name": name})

    async def losses(self, request: Request) -> Response:
        """The history of lost files, newest wipe first; `?dyno=` for one dyno or type."""
        name = self._apps.record(request.path_params["app"]).name
        page = Page(limit=_limit(request), dyno=request.query_params.get("dyno", ""))
        return JSONResponse([loss_json(loss) for loss in self._apps.means.losses.history(name, page)])

    async def content(self, request: Request) -> Response:
        """The content of one file of the last wipe: `?dyno=web.1&path=app.db`."""
        name = self._apps.record(request.path_params["app"]).name
        dyno, path = request.query_params.get("dyno", ""), request.query_params.get("path", "")
        content = await self._apps.means.losses.content(name, dyno, path)
        return Response(content, media_type="application/octet-stream")

    async def health(self, request: Request) -> Response:
        """503 until add-ons, release phase and dynos are ready; `?app=NAME`."""
        name = request.query_params.get("app", "")
        if not name:
            return JSONResponse({"status": "ready", "apps": [app.name for app in self._apps.records()]})
        app = self._apps.running(name)
        body = _health(app)
        return JSONResponse(body, status_code=200 if body["status"] == "ready" else 503)


def _health(app: RunningApp) -> dict[str, object]:
    current = next(iter(reversed(app.releases.all())), None)
    status = "failed" if app.failure else "ready" if app.ready.is_set() else "starting"
    return {
        "status": status,
        "addons": app.addon_states(),
        "release": {"version": current.version, "status": str(current.status)} if current else None,
        "dynos": [{"name": dyno.name, "state": str(dyno.state)} for dyno in app.dynos.dynos()],
    }


def _limit(request: Request) -> int:
    try:
        return max(1, int(request.query_params.get("limit", "1000")))
    except ValueError:
        raise UsageError("`limit` must be a whole number.") from None
