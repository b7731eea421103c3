"""Reads the JSON body of a request, and says what is wrong with it."""

import json

from starlette.requests import Request

from herolocal.errors import UsageError


async def json_body(request: Request) -> dict[str, object]:
    """The body as an object; an empty one is `{}`. Raises UsageError."""
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"The request's body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise UsageError("The request's body must be a JSON object.")
    return body


def text(body: dict[str, object], name: str, default: str = "") -> str:
    """A member that must be a string."""
    value = body.get(name, default)
    if value is None:
        return default
    if not isinstance(value, str):
        raise UsageError(f"`{name}` must be a string.")
    return value


def flag(body: dict[str, object], name: str) -> bool:
    """A member that must be a boolean; absent is False."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"`{name}` must be true or false.")
    return value


def number(body: dict[str, object], name: str, default: int) -> int:
    """A member that must be a whole number, or its decimal text."""
    value = body.get(name, default)
    try:
        return int(str(value))
    except ValueError:
        raise UsageError(f"`{name}` must be a whole number.") from None
