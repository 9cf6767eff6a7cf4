"""factcli export."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.export import export

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("export", not (quiet or as_json)) as progress:
        result = export(**asked, progress=progress)
    if as_json:
        console.result(result)
        return
    from .plans import exported

    if not quiet:
        exported(result["files"])
    for file in result["files"]:
        console.line(f"{result['output']}/{file['path']}")
