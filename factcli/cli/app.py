"""The Typer application, and the one place where errors become exit codes."""

import os
import sys
from typing import Annotated

import typer
from typer import completion

from .. import __version__
from ..errors import FactcliError
from ..recipe.commands import COMMANDS
from . import bench, convert, diagnose, eval, export, finetune, frontier, inspect, push, sweep
from .build import command
from .console import fail, show_notes

app = typer.Typer(
    name="factcli",
    help="Compress transformers by matrix factorization: smaller, faster, and reloadable anywhere.",
    no_args_is_help=True,
    # Declared below as plain flags: for Typer's own, every command would first import pydantic, half of its time.
    add_completion=False,
    add_help_option=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _module in (convert, inspect, diagnose, finetune, export, eval, bench, frontier, sweep, push):
    _made_from = next(c for c in COMMANDS if c.name == _module.__name__.rpartition(".")[2])
    app.command(_made_from.name)(command(_made_from, _module.run))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"factcli {__version__}")
        raise typer.Exit


def _help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(context.get_help())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option("--install-completion", callback=completion.install_callback, help="Install shell completion."),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion", callback=completion.show_callback, help="Show the script for shell completion."
        ),
    ] = False,
    help_: Annotated[
        bool, typer.Option("--help", callback=_help, is_eager=True, help="Show this message and exit.")
    ] = False,
) -> None:
    pass


completion.completion_init()  # type: ignore[attr-defined]


def main() -> None:
    """Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage, 130 interrupted."""
    show_notes()
    try:
        app()
    except FactcliError as error:
        if os.environ.get("FACTCLI_DEBUG") == "1":
            raise
        fail(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("Interrupted.")
        sys.exit(130)
    except (Exception, MemoryError) as error:
        if os.environ.get("FACTCLI_DEBUG") == "1":
            raise
        text = " ".join(str(error).split()) or "no message"
        fail(f"Unexpected {type(error).__name__}: {text[:300]} (FACTCLI_DEBUG=1 shows the traceback).")
        sys.exit(1)
