"""factcli bench."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.bench import bench
        from ..models.memory import keep_freed

        keep_freed()
        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("bench", not (quiet or as_json)) as progress:
        result = bench(**asked, progress=progress)
    for text in result["notes"]:
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .costs import measured

    measured(result)
