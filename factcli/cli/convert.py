"""factcli convert."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.convert import convert

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    dry_run = bool(asked.get("dry_run"))
    with console.progress("convert", not (quiet or as_json)) as progress:
        result = convert(**asked, progress=progress)
    for text in result.get("notes", ()):
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .plans import exported, plan_table, searched, totals

    if result["purpose"] and not (quiet or dry_run):
        console.note(f"{result['model']} {result['purpose']}.")
    if dry_run:
        plan_table(result)
    elif not quiet:
        if "search" in result:
            searched(result["search"])
        totals(result)
        error = "" if result["error"] is None else f"Relative error {result['error']:.4f}; "
        console.note(f"{error}{result['seconds']} s.")
    if result.get("runtimes") and not quiet:
        exported(result["runtimes"])
    if not dry_run:
        console.line(result["output"])
    if result.get("pushed"):
        console.pushed(result["pushed"], quiet)
