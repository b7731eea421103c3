"""herolocal's own options in one table: name, default, help. Commands and documentation read it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """An option of a command, or a variable of the environment."""

    name: str
    help: str
    default: object = None


OPTIONS = {
    setting.name: setting
    for setting in (
        Setting("procfile", "Procfile to read instead of ./Procfile."),
        Setting(
            "env", "File of config vars; may be given several times, later ones win. Default: .env, if there is one."
        ),
        Setting("detach", "Run in the background; `herolocal down` ends it.", False),
        Setting("wait", "Return, or go on, only when add-ons, release phase and dynos are ready.", False),
        Setting("timeout", "Seconds that --wait waits.", 300.0),
        Setting(
            "port", "The router's port. Default: PORT from .env, or the app's last one, or the first free from 5006."
        ),
        Setting("formation", "Dynos of each type, such as web=2,worker=1."),
        Setting("fresh", "Empty throw-away add-ons for this run; the data of other runs stays untouched.", False),
        Setting(
            "addons", "Where add-on servers come from. auto: a container engine if one answers, else embedded.", "auto"
        ),
        Setting("addon-tls", "TLS on PostgreSQL and Redis, as on Heroku.", "on"),
        Setting(
            "isolation", "How dynos are kept apart. auto: namespaces where the kernel allows, else a copy.", "auto"
        ),
        Setting("no-build", "Install nothing; dynos run in your shell's environment.", False),
        Setting("python-any", "Build with another minor version of Python than the app asks for.", False),
        Setting("quiet", "Show the log alone.", False),
        Setting("app", "The app. Default: the one of this directory."),
        Setting("json", "Machine-readable output.", False),
        Setting("volumes", "Also remove the data of the app's add-ons.", False),
    )
}

VARIABLES = {
    setting.name: setting
    for setting in (
        Setting("HEROLOCAL_HOME", "Where herolocal keeps everything.", "~/.herolocal"),
        Setting("HEROLOCAL_APP", "The app that commands act on, as --app."),
        Setting("HEROLOCAL_IMAGE_POSTGRES", "Image of heroku-postgresql.", "postgres:17"),
        Setting("HEROLOCAL_IMAGE_ELASTICSEARCH", "Image of searchbox.", "elasticsearch:8.19.9"),
        Setting("HEROLOCAL_IMAGE_REDIS", "Image of heroku-redis.", "redis:7"),
        Setting("HEROLOCAL_IMAGE_PREFIX", "Put before every image name, for a registry of your own."),
        Setting("HEROLOCAL_DEBUG", "Show tracebacks of expected errors too."),
        Setting("NO_COLOR", "No colors, whatever the terminal."),
    )
}
