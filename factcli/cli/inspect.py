"""factcli inspect."""

from typing import Annotated

import typer

from . import console
from . import options as o


def command(
    model: Annotated[str, typer.Argument(metavar="DIR", help="A directory that factcli made.")],
    as_json: o.JsonOption = False,
) -> None:
    """Show what is in an export: plan, sizes, provenance, pins."""
    with console.importing():
        from ..inspection import inspect

    result = inspect(model)
    if as_json:
        console.result(result)
        return
    from .tables import inspection

    inspection(result)
