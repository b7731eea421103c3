"""The command `herolocal`: reads the command line, runs a command, decides the exit code."""

import os
import sys
import traceback

import click

from herolocal import __version__
from herolocal.errors import HerolocalError, UsageError
from herolocal.interfaces.cli import render
from herolocal.interfaces.cli.commands import COMMANDS

USAGE = 2
INTERRUPTED = 130


class Commands(click.Group):
    """Commands in the order a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="herolocal %(version)s")
def cli() -> None:
    """Heroku on your own machine: dynos, router, logplex and add-ons, offline and without an account.

    In a directory with a Procfile: herolocal up
    """


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """The program: every expected error is one text and an exit code."""
    _open_standard_streams()
    try:
        status = cli.main(prog_name="herolocal", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        _usage(error)
        sys.exit(error.exit_code)
    except render.OutputClosed:
        render.leave_quietly()
        sys.exit(1)
    except HerolocalError as error:
        _tell(error)
        sys.exit(USAGE if isinstance(error, UsageError) else 1)


def _open_standard_streams() -> None:
    """Who closed one of them (`<&-`) gets an empty one, so that nothing of ours takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _usage(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    hint = f"\n  See: {context.command_path} --help" if context is not None else ""
    render.error(error.format_message() + hint)


def _tell(error: HerolocalError) -> None:
    if os.environ.get("HEROLOCAL_DEBUG"):
        render.err(traceback.format_exc())
    if "--json" in sys.argv:
        render.json_err({"id": type(error).__name__, "message": str(error)})
    else:
        render.error(str(error))
