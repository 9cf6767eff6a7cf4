"""factcli sweep."""

import sys
from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    from ..commands.sweep import sweep

    if asked.get("dry_run"):
        console.quiet_libraries(verbose, bars=False)
    with console.progress("Running", not (quiet or as_json)) as progress:
        result = sweep(**asked, progress=progress)
    if as_json:
        console.result(result)
    else:
        from .sweeps import listed

        listed(result, planned=bool(asked.get("dry_run")), quiet=quiet)
    if result["totals"]["failed"] and not (asked.get("dry_run") or asked.get("status")):
        sys.exit(1)
