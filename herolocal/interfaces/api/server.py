"""The API as one ASGI application: links, error words, guard."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.types import ASGIApp

from herolocal.errors import HerolocalError
from herolocal.interfaces.api.guard import Guard
from herolocal.interfaces.api.heroku import HerokuLinks
from herolocal.interfaces.api.local import LocalLinks
from herolocal.interfaces.api.one_offs import OneOffLinks
from herolocal.interfaces.api.problems import on_herolocal_error, on_unexpected, on_unknown_route, on_wrong_method
from herolocal.interfaces.api.rendezvous import Rendezvous
from herolocal.platform.apps import Apps


def application(apps: Apps, rendezvous: Rendezvous, token: str, base_url: Callable[[], str]) -> ASGIApp:
    """The ASGI application of one platform."""
    routes = [
        *LocalLinks(apps).routes(),
        *HerokuLinks(apps, base_url).routes(),
        *OneOffLinks(apps, rendezvous).routes(),
    ]
    starlette = Starlette(
        routes=routes,
        exception_handlers={
            HerolocalError: on_herolocal_error,
            404: on_unknown_route,
            405: on_wrong_method,
            Exception: on_unexpected,
        },
    )
    return Guard(starlette, token)
