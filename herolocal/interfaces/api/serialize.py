"""What the platform knows, as JSON in the shapes of Heroku's Platform API schema."""

from datetime import datetime

from herolocal.contracts.store import AddonRecord, AppRecord
from herolocal.model.formation import FormationRow
from herolocal.model.release import Release
from herolocal.platform.dynos.manager import DynoView

Json = dict[str, object]


def time_json(moment: datetime) -> str:
    """`2026-01-01T00:00:00Z`, as the Platform API writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def app_json(app: AppRecord, *, web_url: str, git_url: str, owner: str, slug_size: int | None = None) -> Json:
    """`app` of the schema."""
    at = time_json(app.created_at)
    return {
        "acm": False,
        "archived_at": None,
        "build_stack": {"id": "heroku-24", "name": "heroku-24"},
        "buildpack_provided_description": None,
        "create_status": "complete",
        "created_at": at,
        "current_build_architecture": [],
        "generation": {"id": "cedar", "name": "cedar"},
        "git_url": git_url,
        "id": app.id,
        "internal_routing": None,
        "maintenance": False,
        "name": app.name,
        "organization": None,
        "owner": {"email": owner, "id": "00000000-0000-4000-8000-000000000001"},
        "region": {"id": "local", "name": "local"},
        "released_at": at,
        "repo_size": None,
        "slug_size": slug_size,
        "space": None,
        "stack": {"id": "heroku-24", "name": "heroku-24"},
        "team": None,
        "updated_at": at,
        "web_url": web_url,
    }


def dyno_json(app: AppRecord, dyno: DynoView, release: Release | None, attach_url: str | None = None) -> Json:
    """`dyno` of the schema."""
    return {
        "app": {"id": app.id, "name": app.name},
        "attach_url": attach_url,
        "command": dyno.command,
        "created_at": time_json(dyno.created_at),
        "id": dyno.id,
        "name": dyno.name,
        "release": {"id": release.id if release else "", "version": dyno.release},
        "size": dyno.size.name,
        "state": str(dyno.state),
        "type": dyno.type,
        "updated_at": time_json(dyno.since),
    }


def formation_json(app: AppRecord, row: FormationRow, command: str) -> Json:
    """`formation` of the schema."""
    at = time_json(app.created_at)
    return {
        "app": {"id": app.id, "name": app.name},
        "command": command,
        "created_at": at,
        "docker_image": None,
        "dyno_size": {"id": row.size.name.lower(), "name": row.size.name},
        "id": f"{app.id}-{row.type}",
        "quantity": row.quantity,
        "size": row.size.name,
        "type": row.type,
        "updated_at": at,
    }


def release_json(app: AppRecord, release: Release, *, current: bool) -> Json:
    """`release` of the schema."""
    at = time_json(release.created_at)
    return {
        "addon_plan_names": [],
        "app": {"id": app.id, "name": app.name},
        "created_at": at,
        "current": current,
        "description": release.description,
        "eligible_for_rollback": bool(release.slug),
        "id": release.id,
        "output_stream_url": None,
        "slug": {"id": release.slug} if release.slug else None,
        "status": str(release.status),
        "updated_at": at,
        "user": {"email": release.user, "id": "00000000-0000-4000-8000-000000000001"},
        "version": release.version,
    }


def addon_json(app: AppRecord, addon: AddonRecord, config_vars: list[str], state: str) -> Json:
    """`addon` of the schema, without billing."""
    at = time_json(addon.created_at)
    return {
        "addon_service": {"id": addon.service, "name": addon.service},
        "app": {"id": app.id, "name": app.name},
        "config_vars": config_vars,
        "created_at": at,
        "id": addon.id,
        "name": addon.name,
        "plan": {"id": f"{addon.service}:{addon.plan}", "name": f"{addon.service}:{addon.plan}"},
        "provider_id": addon.volume,
        "state": state,
        "updated_at": at,
        "web_url": None,
    }
