"""factcli inspect."""

from . import console
from . import options as o


def command(
    model: o.ModelArgument,
    revision: o.RevisionOption = None,
    as_json: o.JsonOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Show what is in an export: plan, sizes, provenance, pins."""
    with console.importing():
        from ..inspection import inspect

        console.quiet_libraries(verbose, bars=not as_json)
    result = inspect(model, revision)
    if as_json:
        console.result(result)
        return
    from .tables import inspection

    inspection(result)
