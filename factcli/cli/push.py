"""factcli push."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.push import push

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    result = push(**asked)
    if as_json:
        console.result(result)
        return
    if asked.get("dry_run"):
        for file in result["files"]:
            console.line(file)
    if not quiet:
        for file in result["left_out"]:
            console.note(f"Left out: {file}")
    if not asked.get("dry_run"):
        console.pushed(result, quiet)
