"""factcli eval."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.evaluate import evaluate
        from ..models.memory import keep_freed

        keep_freed()
        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("eval", not (quiet or as_json)) as progress:
        results = evaluate(**asked, progress=progress)
    if as_json:
        console.result(results[0] if len(results) == 1 else results)
        return
    from .scores import evaluated

    evaluated(results)
