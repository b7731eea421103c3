"""Errors of herolocal as the Platform API words them: a status, an `id`, a message, a place to read on."""

from starlette.requests import Request
from starlette.responses import JSONResponse

from herolocal import errors

# The first class that fits counts, so children stand before their parents. Ids are Heroku's where it has one
# (https://devcenter.heroku.com/articles/platform-api-reference#error-responses).
STATUSES: tuple[tuple[type[errors.HerolocalError], int, str], ...] = (
    (errors.Unauthorized, 401, "unauthorized"),
    (errors.NotFound, 404, "not_found"),
    (errors.Conflict, 409, "conflict"),
    (errors.UnknownAddon, 422, "invalid_params"),
    (errors.UsageError, 422, "invalid_params"),
    (errors.BuildFailed, 422, "build_failed"),
    (errors.ReleaseFailed, 422, "release_failed"),
    (errors.MachineError, 503, "service_unavailable"),
    (errors.HerolocalError, 500, "internal_server_error"),
)


def status_of(error: errors.HerolocalError) -> tuple[int, str]:
    """HTTP status and `id` of an error."""
    return next((status, name) for kind, status, name in STATUSES if isinstance(error, kind))


def problem(status: int, name: str, message: str, **more: str) -> JSONResponse:
    """An error response in Heroku's form."""
    return JSONResponse({"id": name, "message": message, **more}, status_code=status)


async def on_herolocal_error(_request: Request, error: Exception) -> JSONResponse:
    """Answer one of our own errors."""
    if not isinstance(error, errors.HerolocalError):
        raise error
    status, name = status_of(error)
    return problem(status, name, str(error))


async def on_unknown_route(request: Request, _error: Exception) -> JSONResponse:
    """A link that herolocal does not have, named."""
    return problem(404, "not_found", f"herolocal does not have {request.method} {request.url.path}.")


async def on_wrong_method(request: Request, _error: Exception) -> JSONResponse:
    """A path that exists, with another method."""
    return problem(405, "method_not_allowed", f"herolocal does not have {request.method} {request.url.path}.")


async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: the traceback goes to the platform's log, never to the client."""
    return problem(500, "internal_server_error", f"herolocal failed on {request.method} {request.url.path}: {error!r}.")
