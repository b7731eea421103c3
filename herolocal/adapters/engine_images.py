"""Images: the one to use, found or pulled, with words for a person when it cannot be had."""

import threading
from collections.abc import Iterable, Mapping
from typing import cast

import docker
from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from herolocal.contracts.server import Progress, ServerRequest
from herolocal.errors import ImageUnavailable

_NO_ROUTE = (
    "dial tcp",
    "no such host",
    "lookup ",
    "timeout",
    "connection refused",
    "network is unreachable",
    "deadline",
)


def image_of(request: ServerRequest) -> str:
    """The template's image with the common prefix, or the one named for its Compose service."""
    container = request.template.container
    named = (request.images or {}).get(container.service)
    return named or f"{request.image_prefix}{container.image}"


class Pull:
    """Pulls one image where it is missing; `cancel` ends it at the next piece that arrives."""

    def __init__(self, request: ServerRequest, progress: Progress) -> None:
        self.image = image_of(request)
        self._request = request
        self._progress = progress
        self._cancelled = threading.Event()
        self.heard = 0  # lines so far: an engine that hangs says none

    def cancel(self) -> None:
        """Ask for the end."""
        self._cancelled.set()

    def run(self, client: docker.DockerClient) -> None:
        """Blocking; raises ImageUnavailable."""
        try:
            client.images.get(self.image)
        except ImageNotFound:
            self._pull(client)

    def _pull(self, client: docker.DockerClient) -> None:
        repository, tag = parse_repository_tag(self.image)
        self._progress(f"pulling {self.image}")
        try:
            lines = client.api.pull(repository, tag=tag or "latest", stream=True, decode=True)
            self._follow(cast("Iterable[Mapping[str, object]]", lines))
            client.images.get(self.image)
        except APIError as error:  # also ImageNotFound
            raise self._unavailable(str(error.explanation or error)) from error

    def _follow(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Report percents of all layers together, each only once."""
        layers: dict[str, tuple[int, int]] = {}
        told = -1
        for line in lines:
            self.heard += 1
            if self._cancelled.is_set():
                return
            if "error" in line:
                raise self._unavailable(str(line["error"]))
            detail = line.get("progressDetail")
            if isinstance(detail, Mapping) and detail.get("total") and line.get("status") == "Downloading":
                layers[str(line.get("id"))] = (int(detail["current"]), int(detail["total"]))
                percent = 100 * sum(done for done, _ in layers.values()) // sum(total for _, total in layers.values())
                if percent > told:
                    told = percent
                    self._progress(f"pulling {self.image} {percent} %")

    def _unavailable(self, text: str) -> ImageUnavailable:
        lower = text.lower()
        found = "no route to the registry" if any(word in lower for word in _NO_ROUTE) else " ".join(text.split())[:200]
        variable = f"HEROLOCAL_IMAGE_{self._request.template.container.service.upper().replace('-', '_')}"
        return ImageUnavailable(
            f"cannot pull image {self.image} for {self._request.template.name}: {found.rstrip('.')}.\n"
            f"  Load the image (docker load), name another ({variable}=…), or run with --addons embedded."
        )
