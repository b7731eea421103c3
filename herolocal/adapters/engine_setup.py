"""What a container's server needs after its start: the role and database that the app's credentials name."""

import secrets
from functools import partial

import docker
from docker.models.containers import Container

from herolocal.adapters import readiness
from herolocal.adapters.engine_client import EngineClient
from herolocal.adapters.engine_containers import Made
from herolocal.adapters.readiness import Target
from herolocal.contracts.server import ServerRequest
from herolocal.errors import ServerFailed
from herolocal.model.catalog import Readiness
from herolocal.wire import postgresql


async def set_up(engine: EngineClient, request: ServerRequest, made: Made, target: Target) -> None:
    """Wait until the server speaks, then let the app in; returns once it may knock. The caller sets the time limit."""
    if request.template.readiness is Readiness.POSTGRESQL:
        await readiness.wait(Readiness.POSTGRESQL, target)  # it lets in or denies: it is up
        await engine.call(partial(_make_role, made.container, request))


# Role and database are made or corrected at each start. The role is one step below superuser and owns its database, as
# on Heroku (https://devcenter.heroku.com/articles/connecting-heroku-postgres).
_ROLE = r"""
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN CONNECTION LIMIT :limit PASSWORD :'verifier';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
"""
_PSQL = 'printf %s "$HEROLOCAL_SQL" | psql -q -v ON_ERROR_STOP=1 -U postgres -d postgres'


def _make_role(container: Container, request: ServerRequest, _client: docker.DockerClient) -> None:
    """As the superuser, over the socket inside the container.

    The words come in by the environment: arguments can be read by everybody on this machine.
    """
    who, limit = request.credentials, request.plan.connections
    variables = {
        "role": who.user,
        "database": who.database,
        "limit": -1 if limit is None else limit,
        "verifier": postgresql.verifier(who.password, secrets.token_bytes(16)),
    }
    words = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items())
    status, output = container.exec_run(["sh", "-c", _PSQL], environment={"HEROLOCAL_SQL": words + _ROLE})
    if status:
        text = bytes(output).decode("utf-8", "replace").strip()[-400:]  # type: ignore[arg-type]  # not a stream
        raise ServerFailed(f"PostgreSQL could not make the database of {request.addon}: {text}")
