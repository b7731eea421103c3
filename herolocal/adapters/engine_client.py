"""The container engine through the docker SDK: its blocking calls in threads of our own, each with an end."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

import docker
import requests
import urllib3
from docker.errors import DockerException
from docker.tls import TLSConfig

from herolocal.adapters.engines import Endpoint, endpoints
from herolocal.errors import EngineUnavailable, ServerFailed
from herolocal.model.limits import ENGINE_TIMEOUT

Result = TypeVar("Result")
Work = Callable[[docker.DockerClient], Result]

_PING_SECONDS = 5.0
_GONE = (requests.exceptions.ConnectionError, requests.exceptions.Timeout, urllib3.exceptions.HTTPError)


class Long(Protocol):
    """Work that takes its time: how often it was heard of, and how it is told to end."""

    heard: int

    def cancel(self) -> None:
        """Ask for the end."""
        ...


class EngineClient:
    """Finds the engine at the first call, and again after it was lost; `limit` in seconds bounds its answers."""

    def __init__(self, environment: Mapping[str, str], limit: float = ENGINE_TIMEOUT) -> None:
        self._environment = environment
        self._limit = limit
        self._found: tuple[docker.DockerClient, Endpoint] | None = None
        self._finding = asyncio.Lock()

    async def call(self, work: Work[Result], *, limit: float | None = None, long: Long | None = None) -> Result:
        """Do blocking work with the SDK in a thread.

        Raises EngineUnavailable after `limit` seconds, and ServerFailed for what the engine refuses. Work that is
        `long` may take longer, as long as something is heard of it. A cancelled call waits for the thread, so
        that what it was making can be found and removed.
        """
        client, endpoint = await self._client()
        future = in_thread(lambda: work(client))
        try:
            await _wait(future, 2 * self._limit if limit is None else limit, long)
            return future.result()
        except asyncio.CancelledError:
            if long is not None:
                long.cancel()
            await asyncio.wait({future}, timeout=self._limit)
            raise
        except (TimeoutError, *_GONE) as error:
            self._found = None
            raise EngineUnavailable(_lost(endpoint)) from error
        except DockerException as error:
            raise ServerFailed(f"The container engine refused: {_words(error)}.") from error

    async def describe(self) -> str | None:
        """The engine's name and version, or None when none answers."""
        try:
            answer: Mapping[str, object] = await self.call(lambda client: client.version(), limit=_PING_SECONDS)
        except (EngineUnavailable, ServerFailed):
            return None
        platform = answer.get("Platform")
        name = str(platform.get("Name") or "") if isinstance(platform, Mapping) else ""
        kind = "Podman" if "podman" in f"{name}{answer.get('Components')}".lower() else "Docker"
        return f"{kind} {answer.get('Version', '')}".strip()

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        if self._found is not None:
            self._found[0].close()
            self._found = None

    async def url(self) -> str:
        """Where the engine is; raises EngineUnavailable."""
        return (await self._client())[1].url

    async def _client(self) -> tuple[docker.DockerClient, Endpoint]:
        async with self._finding:
            if self._found is None:
                self._found = await self._find()
            return self._found

    async def _find(self) -> tuple[docker.DockerClient, Endpoint]:
        """The first engine that answers; raises EngineUnavailable saying what was tried."""
        candidates = endpoints(self._environment)
        tried = []
        for endpoint in candidates:
            future = in_thread(partial(_connect, endpoint, self._limit))
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    return await asyncio.shield(future), endpoint
            except (DockerException, OSError, TimeoutError) as error:
                tried.append(f"{endpoint.source} at {endpoint.url}: {_words(error)}")
        found = "; ".join(tried) or "there is no socket of Docker, Podman, Colima, OrbStack or Rancher Desktop"
        raise EngineUnavailable(f"No container engine answers ({found}). Start one, or run with --addons embedded.")


async def _wait(future: "asyncio.Future[Result]", limit: float, long: Long | None) -> None:
    """Until it is done; raises TimeoutError after `limit` seconds in which nothing was heard."""
    heard = -1
    while not future.done():
        if long is None and heard == 0:
            raise TimeoutError
        if long is not None and heard == long.heard:
            long.cancel()
            raise TimeoutError
        heard = long.heard if long is not None else 0
        await asyncio.wait({future}, timeout=limit)


def in_thread(work: Callable[[], Result]) -> "asyncio.Future[Result]":
    """Do blocking work in a thread that keeps nobody from exiting: an engine that hangs must not make us hang."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(function: Callable[..., None], value: object) -> None:
        if not future.done():
            function(value)

    def run() -> None:
        try:
            outcome = (future.set_result, work())
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
            outcome = (future.set_exception, error)  # type: ignore[assignment]  # both are told apart by their function
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="engine", daemon=True).start()
    return future


def _connect(endpoint: Endpoint, limit: float) -> docker.DockerClient:
    tls = None
    if endpoint.tls is not None:
        pair = (str(endpoint.tls / "cert.pem"), str(endpoint.tls / "key.pem"))
        tls = TLSConfig(client_cert=pair, ca_cert=str(endpoint.tls / "ca.pem"), verify=True)
    # Opening negotiates the API version, so an engine that does not answer is found out here.
    return docker.DockerClient(base_url=endpoint.url, version="auto", timeout=int(limit), tls=tls or False)


def _lost(endpoint: Endpoint) -> str:
    return (
        f"The container engine ({endpoint.source} at {endpoint.url}) has stopped answering. Restart it (`docker info` "
        "shows when it is back), or run with --addons embedded --fresh meanwhile."
    )


def _words(error: BaseException) -> str:
    """An SDK's error in one line without its wrappings."""
    if isinstance(error, TimeoutError):
        return "no answer"
    text = getattr(error, "explanation", None) or str(error)
    with contextlib.suppress(ValueError):
        text = text[text.rindex("PermissionError") :] if "PermissionError" in text else text
    return " ".join(str(text).split())[:300].rstrip(".")
