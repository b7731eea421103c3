"""What a dyno's process finds in its environment: config vars and what the platform adds."""

from collections.abc import Mapping

from herolocal.model.limits import DynoSize

PATH = "/usr/local/bin:/usr/bin:/bin"


def dyno_environment(
    config_vars: Mapping[str, str],
    *,
    dyno: str,
    port: int | None,
    size: DynoSize,
    app_home: str,
    caller: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment of one dyno. `caller` is the caller's own, where no build made one (`--no-build`).

    PORT is set for web dynos only, WEB_CONCURRENCY by the dyno's size unless a config var sets it
    (https://devcenter.heroku.com/articles/dyno-startup-behavior, heroku-buildpack-python's WEB_CONCURRENCY.sh).
    """
    platform = {"DYNO": dyno, "HOME": app_home}
    if port is not None:
        platform["PORT"] = str(port)
    concurrency = {"DYNO_RAM": str(size.ram), "HEROLOCAL_CORES": str(size.cores)}
    if "WEB_CONCURRENCY" not in config_vars:
        concurrency |= {"WEB_CONCURRENCY": str(size.web_concurrency), "WEB_CONCURRENCY_SET_BY": "heroku/python"}
    base = {"PATH": PATH, "LANG": "en_US.UTF-8"} if caller is None else caller
    values = {**base, **concurrency, **config_vars}
    values.pop("PORT", None)
    return {**values, **platform}
