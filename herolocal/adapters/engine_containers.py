"""Containers of ours: labels by which they are found again, how they are made, and what is written into them."""

import contextlib
import io
import os
import secrets
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import LogConfig

from herolocal.adapters.authority import Authority
from herolocal.contracts.server import ServerRequest
from herolocal.errors import ServerFailed
from herolocal.model.catalog import Recipe, fill
from herolocal.model.limits import ADDON_STOP_TIMEOUT
from herolocal.wire import elasticsearch

APP, ADDON, HOME, BOOT, PIDNS, THROWAWAY = (
    f"dev.herolocal.{name}" for name in ("app", "addon", "home", "boot", "pidns", "throwaway")
)
_OURS = "/herolocal"
_RANDOM_PORT = cast("tuple[str, int]", ("127.0.0.1", None))  # None is missing in the SDK's stubs
_LOG = LogConfig(type=LogConfig.types.JSON, config={"max-size": "5m", "max-file": "2"})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose containers these are: the home, this run of its platform, and the PID namespace that run lives in.

    A process id means nothing in another PID namespace that shares the engine, hence the last.
    """

    home: str
    boot: str
    pidns: str

    def labels(self) -> dict[str, str]:
        """As labels."""
        return {HOME: self.home, BOOT: self.boot, PIDNS: self.pidns}

    def name(self, kind: str) -> str:
        """A container's or volume's name, which no other home gives."""
        return f"herolocal-{self.home[:12]}-{kind}"


def this_owner(home_id: str) -> Owner:
    """Of this process."""
    try:
        pidns = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        pidns = ""
    return Owner(home_id, f"{os.getpid()}-{secrets.token_hex(6)}", pidns)


@dataclass(frozen=True, slots=True)
class Made:
    """A started container: where its port is published, and the password of its superuser."""

    container: Container
    port: int
    admin_password: str


def recipe_of(request: ServerRequest) -> Recipe:
    """How the container is started, with TLS of its own or without."""
    container = request.template.container
    return container.with_tls if request.tls and container.with_tls is not None else container.without_tls


def make(client: docker.DockerClient, request: ServerRequest, image: str, owner: Owner, authority: Authority) -> Made:
    """Create and start it, with its files in place. Blocking; the caller removes what is left when this raises."""
    container, recipe = request.template.container, recipe_of(request)
    remove_former(client, request.addon, owner)
    admin_password = secrets.token_hex(32)
    values = _values(request, admin_password, authority)
    labels = {**owner.labels(), APP: request.app, ADDON: request.addon}
    volume_labels = {**labels, **({THROWAWAY: "1"} if request.throwaway else {})}
    volumes = {}
    if container.data is not None:
        volume = owner.name(request.volume)
        client.volumes.create(volume, labels=volume_labels)
        volumes = {volume: {"bind": container.data, "mode": "rw"}}
    made = client.containers.create(
        image,
        command=None if recipe.command is None else [fill(word, values) for word in recipe.command],
        name=owner.name(request.addon),
        environment={name: fill(text, values) for name, text in container.environment.items()},
        labels=labels,
        ports={f"{container.port}/tcp": _RANDOM_PORT},
        volumes=volumes,
        shm_size=container.shm_size,
        user=container.user,
        log_config=_LOG,
    )
    if recipe.files:
        _put(made, recipe, values)
    made.start()
    return Made(made, _published(made, container.port), admin_password)


def _values(request: ServerRequest, admin_password: str, authority: Authority) -> dict[str, str]:
    chain, key = authority.certificate()
    who, plan = request.credentials, request.plan
    return {
        "USER": who.user,
        "PASSWORD": who.password,
        "PASSWORD_PBKDF2": elasticsearch.password_hash(who.password, secrets.token_bytes(elasticsearch.SALT_BYTES)),
        "DATABASE": who.database,
        "ADMIN_PASSWORD": admin_password,
        "CERTIFICATE": chain.read_text(),
        "KEY": key.read_text(),
        "CONNECTIONS": "" if plan.connections is None else str(plan.connections),
        "MEMORY": "" if plan.memory is None else str(plan.memory),
    }


def _put(container: Container, recipe: Recipe, values: Mapping[str, str]) -> None:
    """Write the recipe's files, readable by its owner alone. A directory of ours is made, any other must be there."""
    uid, gid = _ids(container, recipe.owner)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(_entry(_OURS, uid, gid, is_directory=True))
        for name, text in recipe.files.items():
            data = fill(text, values).encode()
            entry = _entry(name, uid, gid)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    if not container.put_archive("/", archive.getvalue()):
        raise ServerFailed(f"The container engine did not take the files of {container.name}.")


def _entry(name: str, uid: int, gid: int, *, is_directory: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.uid, entry.gid = uid, gid
    entry.mode = 0o700 if is_directory else 0o600
    entry.type = tarfile.DIRTYPE if is_directory else tarfile.REGTYPE
    return entry


def _ids(container: Container, owner: str) -> tuple[int, int]:
    """The user's numbers in this image: the same name has others in the next one."""
    if not owner:
        return 0, 0
    chunks, _ = container.get_archive("/etc/passwd")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        lines = file.read().decode("utf-8", "replace").splitlines() if file is not None else []
    for fields in (line.split(":") for line in lines):
        if fields[0] == owner and len(fields) > 3:
            return int(fields[2]), int(fields[3])
    raise ServerFailed(f"The image of {container.name} has no user `{owner}`, to whom its files should belong.")


def _published(container: Container, port: int) -> int:
    container.reload()
    published = container.attrs["NetworkSettings"]["Ports"].get(f"{port}/tcp")
    if not published:
        raise ServerFailed(f"{container.name} ended at once. Its last lines:\n{tail(container)}")
    return int(published[0]["HostPort"])


def tail(container: Container) -> str:
    """The last lines of its log, indented."""
    try:
        lines = container.logs(tail=12).decode("utf-8", "replace").strip().splitlines()
    except NotFound:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"


# finding and removing -------------------------------------------------------------------------------------------------


def find(client: docker.DockerClient, **labels: str) -> list[Container]:
    """Containers with these labels, stopped ones too; those that vanish meanwhile are left out."""
    names = {"home": HOME, "addon": ADDON}
    wanted = [f"{names[name]}={value}" for name, value in labels.items()]
    found: Iterable[Container] = client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
    return list(found)


def remove_former(client: docker.DockerClient, addon: str, owner: Owner) -> None:
    """Remove what is left of this add-on's earlier containers.

    Raises ServerFailed for a running one that a platform in another PID namespace may still use: two servers on
    one volume would destroy it.
    """
    for former in find(client, home=owner.home, addon=addon):
        if former.labels.get(PIDNS) != owner.pidns and former.status == "running":
            raise ServerFailed(
                f"The container {former.name} uses the data of {addon} already, for a herolocal in another container. "
                f"If that one is gone: docker rm -f {former.name}"
            )
        remove(former, kill=True)


def remove(container: Container, *, kill: bool) -> None:
    """Stop and remove it with its anonymous volumes; its named one stays. Gone already is no error."""
    try:
        if kill:
            container.remove(v=True, force=True)
            return
        container.stop(timeout=int(ADDON_STOP_TIMEOUT))
        container.remove(v=True)
    except NotFound:
        pass


def remove_volume(client: docker.DockerClient, name: str) -> None:
    """Gone already is no error."""
    with contextlib.suppress(NotFound):
        client.volumes.get(name).remove()


def reap(client: docker.DockerClient, owner: Owner) -> int:
    """Remove this home's containers of earlier runs in this PID namespace, and throw-away volumes nobody uses."""
    count = 0
    for container in find(client, home=owner.home):
        labels = container.labels
        if labels.get(BOOT) != owner.boot and labels.get(PIDNS) == owner.pidns:
            remove(container, kill=True)  # each of these servers recovers from a kill, and somebody waits
            count += 1
    wanted = [f"{HOME}={owner.home}", f"{THROWAWAY}=1", f"{PIDNS}={owner.pidns}"]
    for volume in client.volumes.list(filters={"label": wanted}):
        if volume.attrs.get("Labels", {}).get(BOOT) != owner.boot:
            remove_volume(client, volume.name)
    return count
