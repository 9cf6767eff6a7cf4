"""factcli diagnose."""

from typing import Any

from . import console


def run(as_json: bool = False, quiet: bool = False, verbose: bool = False, every: bool = False, **asked: Any) -> None:
    with console.importing():
        from ..commands.diagnose import diagnose

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("diagnose", not (quiet or as_json)) as progress:
        result = diagnose(**asked, progress=progress)
    for text in result.get("notes", ()):
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .diagnosis import diagnosis

    diagnosis(result, every)
