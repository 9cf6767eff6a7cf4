"""factcli inspect."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.inspect import inspect

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    result = inspect(**asked)
    if as_json:
        console.result(result)
        return
    from .inspection import inspection

    inspection(result)
