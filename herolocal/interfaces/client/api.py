"""Speaks the Platform API, and herolocal's own links, to the platform of this machine: standard library only."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from herolocal import errors
from herolocal.interfaces.client.launcher import Address

_SECONDS = 60.0
_STOP_SECONDS = 300.0
_BUFFER = 256 * 1024

# The ids of the API back to errors, by status.
_BY_STATUS: dict[int, type[errors.HerolocalError]] = {
    401: errors.Unauthorized,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.UsageError,
    503: errors.MachineError,
}


class Client:
    """One platform. Every call is a connection of its own; `app` and `dyno` names are quoted here."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def call(self, method: str, path: str, body: object = None, *, seconds: float = _SECONDS) -> Any:
        """The JSON answer; raises the error of `herolocal.errors` that the status stands for."""
        with self._request(method, path, body, seconds=seconds) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def content(self, path: str) -> bytes:
        """The bytes behind a link."""
        with self._request("GET", path) as answer:
            return answer.read()

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        seconds: float | None = _SECONDS,
        accept: str = "application/json",
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=seconds)
        headers = {"Authorization": f"Bearer {self.address.token}", "Accept": accept}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            if answer.status >= http.client.BAD_REQUEST:
                raise _error(answer.status, answer.read())
            yield answer
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, BrokenPipeError) and connection.sock is None:
                raise
            raise errors.PlatformUnreachable(
                f"The platform does not answer on 127.0.0.1:{self.address.port}: {error}. "
                "Start it again with `herolocal up`."
            ) from error
        finally:
            connection.close()

    @contextlib.contextmanager
    def stream(self, method: str, path: str, body: object = None, *, accept: str = "*/*") -> Iterator["Stream"]:
        """An answer that goes on."""
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=None)
        headers = {"Authorization": f"Bearer {self.address.token}", "Accept": accept}
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body).encode(), headers=headers)
            answer = connection.getresponse()
            if answer.status >= http.client.BAD_REQUEST:
                raise _error(answer.status, answer.read())
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise errors.PlatformUnreachable(f"The platform does not answer: {error}.") from error
        try:
            yield Stream(answer)
        finally:
            with contextlib.suppress(OSError, AttributeError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    # links ----------------------------------------------------------------------------------------------------------

    def apps(self, directory: str) -> Any:
        """The apps of this directory: none or one."""
        return self.call("GET", f"/_herolocal/apps?directory={quote(directory, safe='')}")

    def stop(self, app: str, *, kill: bool = False, volumes: bool = False) -> None:
        """End an app and wait for it."""
        body = {"kill": kill, "volumes": volumes}
        self.call("POST", f"/_herolocal/apps/{quote(app)}/stop", body, seconds=_STOP_SECONDS)


class Stream:
    """Bytes as they come; `b""` at the end, whether it ended well or broke."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def read(self) -> bytes:
        try:
            return self._answer.read1(_BUFFER)
        except (http.client.HTTPException, OSError, ValueError):
            return b""

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read():
            yield data


def _error(status: int, raw: bytes) -> errors.HerolocalError:
    try:
        message = json.loads(raw)["message"]
    except (ValueError, KeyError, TypeError):
        message = f"The platform answered with status {status}."
    return _BY_STATUS.get(status, errors.HerolocalError)(message)


def plain_path(url: str) -> str:
    """The path and query of one of the platform's own URLs."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
