"""The verbs of `herolocal`, each a few lines over the client."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from herolocal.errors import NotFound, UsageError
from herolocal.interfaces.cli import render
from herolocal.interfaces.cli.demo import write_demo
from herolocal.interfaces.cli.run import run_attached
from herolocal.interfaces.cli.up import project_directory, up
from herolocal.interfaces.client.api import Client, plain_path
from herolocal.interfaces.client.launcher import Address, Started, find, find_or_start, home_of
from herolocal.settings import OPTIONS

Decorator = Callable[[Any], Any]


def option(name: str, *declarations: str, **more: Any) -> Decorator:
    """A click option with the help and the default of the settings table."""
    setting = OPTIONS[name]
    if "default" not in more and not more.get("multiple"):
        more["default"] = setting.default
    return click.option(*declarations, help=setting.help, **more)


app_option = click.option("-a", "--app", envvar="HEROLOCAL_APP", help=OPTIONS["app"].help)
json_option = click.option("--json", "as_json", is_flag=True, help=OPTIONS["json"].help)


def up_options(command: Any) -> Any:
    """The options of `up` and `demo`, which is `up` in a directory of ours."""
    for decorate in reversed(
        (
            option("procfile", "-f", "--procfile", metavar="FILE"),
            option("env", "-e", "--env", metavar="FILE", multiple=True),
            option("detach", "-d", "--detach", is_flag=True),
            option("wait", "--wait", is_flag=True),
            option("timeout", "--timeout", type=float, metavar="SECONDS", show_default=True),
            option("port", "-p", "--port", type=click.IntRange(1, 65535)),
            option("formation", "--formation", metavar="TYPE=N,…"),
            option("fresh", "--fresh", is_flag=True),
            option("addons", "--addons", type=click.Choice(["auto", "docker", "embedded", "none"]), show_default=True),
            option("addon-tls", "--addon-tls", type=click.Choice(["on", "off"]), show_default=True),
            option("isolation", "--isolation", type=click.Choice(["auto", "namespace", "copy"]), show_default=True),
            option("no-build", "--no-build", is_flag=True),
            option("python-any", "--python-any", is_flag=True),
            option("quiet", "-q", "--quiet", is_flag=True),
        )
    ):
        command = decorate(command)
    return command


def example(text: str) -> str:
    """The last paragraph of a command's help."""
    return f"\b\nExample:\n  {text}"


@click.command("up", epilog=example("herolocal up -d --wait && curl http://localhost:5006"))
@click.argument("types", nargs=-1, metavar="[TYPE]…")
@up_options
def up_command(**options: Any) -> int:
    """Run this directory as Heroku would run it; Ctrl-C stops everything it started.

    TYPE: only these process types of the Procfile.
    """
    return up(project_directory(), options, os.environ)


@click.command("down", epilog=example("herolocal down --volumes"))
@app_option
@click.option("--volumes", is_flag=True, help=OPTIONS["volumes"].help)
def down_command(app: str | None, *, volumes: bool) -> None:
    """Stop the app; its add-ons' data is kept."""
    with connected(start=volumes) as client:
        if client is None:
            render.out("Nothing is running.")
            return
        name = app_name(client, app)
        client.stop(name, volumes=volumes)
        render.out(f"{name} is down." + (" Its data is gone." if volumes else ""))


@click.command("restart", epilog=example("herolocal restart web.1"))
@click.argument("dyno", required=False)
@app_option
def restart_command(dyno: str | None, app: str | None) -> None:
    """Restart all dynos, those of one type, or one. Their files are wiped; the slug stays the one of the release."""
    with connected() as found:
        client = needed(found)
        name = app_name(client, app)
        client.call("DELETE", f"/apps/{quote(name)}/dynos" + (f"/{quote(dyno, safe='')}" if dyno else ""))
        render.out(f"Restarting {dyno or 'dynos'} on ⬢ {name}... done")


@click.command("scale", epilog=example("herolocal scale web=2 worker=1"))
@click.argument("changes", nargs=-1, metavar="TYPE=N…")
@app_option
@json_option
def scale_command(changes: tuple[str, ...], app: str | None, *, as_json: bool) -> None:
    """Change how many dynos run of each type; without TYPE=N, show it."""
    with connected() as found:
        client = needed(found)
        name = app_name(client, app)
        path = f"/apps/{quote(name)}/formation"
        if not changes:
            rows = client.call("GET", path)
        else:
            rows = client.call("PATCH", path, {"updates": [_update(change) for change in changes]})
        if as_json:
            render.json_out(rows)
            return
        text = ", ".join(f"{row['type']} at {row['quantity']}:{row['size']}" for row in rows)
        render.out(f"Scaling dynos... done, now running {text}" if changes else text)


def _update(change: str) -> dict[str, str]:
    """`web=2:standard-2x` as an update of the formation; the platform judges the rest."""
    for sign in "=+-":
        type_, found, rest = change.rpartition(sign) if sign == "=" else change.partition(sign)
        if found and type_ and rest[:1].isdecimal():
            quantity, _, size = rest.partition(":")
            return {
                "type": type_,
                "quantity": quantity if sign == "=" else sign + quantity,
                **({"size": size} if size else {}),
            }
    raise UsageError(f"Cannot read `{change}`. Write TYPE=QUANTITY, such as web=2 or worker+1.")


@click.command("ps", epilog=example("herolocal ps --json"))
@app_option
@json_option
def ps_command(app: str | None, *, as_json: bool) -> None:
    """List the dynos."""
    with connected() as client:
        dynos = [] if client is None else client.call("GET", f"/apps/{quote(app_name(client, app))}/dynos")
        if as_json:
            render.json_out(dynos)
            return
        render.out("\n".join(render.ps_lines(dynos, render.now())).rstrip())


@click.command("logs", epilog=example("herolocal logs --tail --dyno-name web"))
@click.option("-n", "--num", type=click.IntRange(0), default=100, show_default=True, help="How many lines to show.")
@click.option("-t", "--tail", is_flag=True, help="Go on with what comes.")
@click.option("-d", "--dyno-name", "--dyno", "dyno", default="", help="Only this dyno, or this process type.")
@click.option("-p", "--process-type", "--ps", "type_", default="", help="Only this process type.")
@click.option("-s", "--source", default="", help="Only this source: app or heroku.")
@app_option
def logs_command(**options: Any) -> None:
    """Show the log: what dynos wrote, and what the platform says of them."""
    with connected() as found:
        client = needed(found)
        name = app_name(client, options["app"])
        body = {
            "lines": options["num"],
            "tail": options["tail"],
            "dyno": options["dyno"] or options["type_"],
            "source": options["source"],
        }
        session = client.call("POST", f"/apps/{quote(name)}/log-sessions", body)
        screen = render.Screen(os.environ)
        with client.stream("GET", plain_path(session["logplex_url"]), accept="text/plain") as stream:
            for data in stream:
                screen.feed(data)


@click.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=example("herolocal run bash"),
)  # fmt: skip
@click.option("-s", "--size", default="", help="Dyno size, such as standard-2x.")
@click.option("--no-tty", is_flag=True, help="No terminal for the command, even if there is one here.")
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Config var for this dyno only.")
@app_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(
    command: tuple[str, ...], app: str | None, size: str, variables: tuple[str, ...], *, no_tty: bool
) -> int:
    """Run a command in a one-off dyno with a fresh filesystem; its exit code is passed on."""
    env = {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"Cannot read `{text}` as --env. Write NAME=VALUE.")
        env[name] = value
    with connected() as found:
        client = needed(found)
        body = {"command": _joined(command), "attach": True, "force_no_tty": no_tty, "size": size, "env": env}
        return run_attached(client, app_name(client, app), body)


def _joined(command: tuple[str, ...]) -> str:
    """One word is a shell text as it is; several are quoted, so that each arrives as typed."""
    import shlex  # noqa: PLC0415 - only here

    return command[0] if len(command) == 1 else shlex.join(command)


@click.command("lost", epilog=example("herolocal lost show web.1 app.db > rescued.db"))
@click.argument("words", nargs=-1, metavar="[show DYNO PATH]")
@app_option
@json_option
def lost_command(words: tuple[str, ...], app: str | None, *, as_json: bool) -> None:
    """List the files that dynos lost at their restarts, or show the content of one."""
    if words and (words[0] != "show" or len(words) != 3):
        raise UsageError(
            "Write `herolocal lost`, or `herolocal lost show DYNO PATH`, such as: herolocal lost show web.1 app.db"
        )
    with connected(start=True) as found:
        client = needed(found)
        path = f"/_herolocal/apps/{quote(app_name(client, app))}/losses"
        if words:
            render.raw_out(
                client.content(f"{path}/content?dyno={quote(words[1], safe='')}&path={quote(words[2], safe='')}")
            )
            return
        losses = client.call("GET", path)
        if as_json:
            render.json_out(losses)
            return
        render.out("\n".join(render.history_lines(losses)))


@click.command("demo", epilog=example("herolocal demo microblog -d --wait"))
@click.argument("directory", default="microblog", metavar="[DIR]")
@up_options
def demo_command(directory: str, **options: Any) -> int:
    """Write the example, a small microblog, into DIR, commit it to git there, and start it."""
    target = project_directory() / directory
    write_demo(target)
    render.err(f"Wrote the example into {directory}/.  Its README.md says what to try.")
    os.chdir(target)
    return up(target, {"types": (), **options}, os.environ)


@click.command("platform", epilog=example("herolocal platform"))
def platform_command() -> int:
    """Hold the platform process until Ctrl-C, with or without apps."""
    found = find_or_start(home_of(os.environ), os.environ, {})
    address = found.address if isinstance(found, Started) else found
    render.out(f"The platform listens on http://127.0.0.1:{address.port}. Ctrl-C lets it go.")
    try:
        import signal  # noqa: PLC0415 - only here

        signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    finally:
        if isinstance(found, Started):
            found.let_go()
    return 0


@click.command("help", epilog=example("herolocal help lost-files"))
@click.argument("topic", required=False)
@click.pass_context
def help_command(context: click.Context, topic: str | None) -> None:
    """Show help, or a page of the documentation."""
    directory = Path(__file__).parents[2] / "docs"
    pages = sorted(path.stem for path in directory.glob("*.md"))
    if topic is None:
        parent = context.parent or context
        render.out(f"{parent.get_help()}\n\nPages: {', '.join(pages)}")
    elif topic in pages:
        render.out((directory / f"{topic}.md").read_text(encoding="utf-8"))
    else:
        raise UsageError(f"There is no page `{topic}`. There are: {', '.join(pages)}.")


COMMANDS = (
    up_command, down_command, restart_command, scale_command, ps_command, logs_command, run_command, lost_command,
    demo_command, platform_command, help_command,
)  # fmt: skip


# the platform of this home --------------------------------------------------------------------------------------------


class connected:  # noqa: N801 - reads as a context manager
    """A client of the running platform, or of one started for this command alone; None when none runs."""

    def __init__(self, *, start: bool = False) -> None:
        self._start = start
        self._found: Address | Started | None = None

    def __enter__(self) -> Client | None:
        home = home_of(os.environ)
        self._found = find_or_start(home, os.environ, {}) if self._start else find(home)
        if self._found is None:
            return None
        return Client(self._found.address if isinstance(self._found, Started) else self._found)

    def __exit__(self, *_exception: object) -> None:
        if isinstance(self._found, Started):
            self._found.let_go()


def needed(client: Client | None) -> Client:
    """The client; raises NotFound when nothing runs."""
    if client is None:
        raise NotFound("No app is running. Start the one of this directory with `herolocal up`.")
    return client


def app_name(client: Client, given: str | None) -> str:
    """The app that was named, or the one of this directory; raises NotFound."""
    if given:
        return given
    directory = str(project_directory())
    for app in client.apps(directory):
        return str(app["name"])
    raise NotFound(f"No app of herolocal belongs to {directory}. Start it with `herolocal up`, or name one with --app.")
