"""Which container engine is meant: DOCKER_HOST, the current Docker context, or the sockets where engines listen."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from herolocal.errors import EngineUnavailable

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine may be. `source` says who named it, `tls` is the directory of ca.pem, cert.pem and key.pem."""

    url: str
    source: str
    tls: Path | None = None


def endpoints(environment: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The engines to try, in order; only one when the person named one. Raises EngineUnavailable for a remote one.

    Add-ons are reached on ports of the loopback interface, which another machine's engine cannot give.
    """
    named = _named(environment)
    found = (named,) if named is not None else tuple(_usual(environment))
    for endpoint in found:
        _check_local(endpoint)
    return found


def _named(environment: Mapping[str, str]) -> Endpoint | None:
    """The engine that DOCKER_HOST or a context names; DOCKER_HOST wins, as with the docker command."""
    config = Path(environment.get("DOCKER_CONFIG") or Path(environment.get("HOME", "/")) / ".docker")
    if host := environment.get("DOCKER_HOST"):
        certificates = Path(environment.get("DOCKER_CERT_PATH") or config)
        return Endpoint(host, "DOCKER_HOST", certificates if environment.get("DOCKER_TLS_VERIFY") else None)
    context = environment.get("DOCKER_CONTEXT") or str(_json(config / "config.json").get("currentContext") or _DEFAULT)
    if context == _DEFAULT:
        return None
    digest = hashlib.sha256(context.encode()).hexdigest()
    engine = _json(config / "contexts" / "meta" / digest / "meta.json").get("Endpoints", {})
    engine = engine.get("docker") if isinstance(engine, dict) else None
    if not isinstance(engine, dict) or not engine.get("Host"):
        raise EngineUnavailable(f"The Docker context `{context}` names no engine. See `docker context ls`.")
    certificates = config / "contexts" / "tls" / digest / "docker"
    return Endpoint(str(engine["Host"]), f"context {context}", certificates if certificates.is_dir() else None)


def _json(path: Path) -> dict[str, object]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _usual(environment: Mapping[str, str]) -> Iterator[Endpoint]:
    """The sockets of Docker, rootless Docker, Podman, Colima, OrbStack and Rancher Desktop that are there."""
    home, runtime = Path(environment.get("HOME", "/")), environment.get("XDG_RUNTIME_DIR")
    sockets = [("Docker", Path("/var/run/docker.sock"))]
    if runtime:
        sockets += [("rootless Docker", Path(runtime) / "docker.sock")]
    sockets += [
        ("Docker Desktop", home / ".docker/run/docker.sock"),
        ("Docker Desktop", home / ".docker/desktop/docker.sock"),
    ]
    if runtime:
        sockets += [("Podman", Path(runtime) / "podman/podman.sock")]
    sockets += [
        ("Podman", Path("/run/podman/podman.sock")),
        ("Colima", home / ".colima/default/docker.sock"),
        ("OrbStack", home / ".orbstack/run/docker.sock"),
        ("Rancher Desktop", home / ".rd/docker.sock"),
    ]
    for source, path in sockets:
        if _is_socket(path):
            yield Endpoint(f"unix://{path}", source)


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


def _check_local(endpoint: Endpoint) -> None:
    parts = urlsplit(endpoint.url)
    if parts.scheme == "unix" or (parts.scheme in ("tcp", "http", "https") and parts.hostname in _LOOPBACK):
        return
    raise EngineUnavailable(
        f"The container engine named by {endpoint.source} ({endpoint.url}) is on another machine, whose ports "
        "herolocal cannot reach on 127.0.0.1. Name a local one, or run with --addons embedded."
    )
