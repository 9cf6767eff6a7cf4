"""factcli frontier."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.frontier import frontier
        from ..models.memory import keep_freed

        keep_freed()
        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("Comparing", not (quiet or as_json)) as progress:
        result = frontier(**asked, progress=progress)
    for text in result["notes"]:
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .costs import compared

    compared(result)
