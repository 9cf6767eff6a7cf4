"""factcli finetune."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.finetune import finetune
        from ..training.run import is_main

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    from .watching import watching

    with watching(not (quiet or as_json)) as watch:
        result = finetune(**asked, watch=watch)
    if not is_main():
        return
    if as_json:
        console.result(result)
        return
    from .scores import finetuned

    if not quiet:
        finetuned(result)
    console.line(result["output"])
    if result.get("pushed"):
        console.pushed(result["pushed"], quiet)
