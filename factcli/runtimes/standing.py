"""How the files of runtimes in a directory stand to what its recipe file says of them."""

from pathlib import Path
from typing import Any

from ..card.runtimes import recorded, state
from ..files.atomic import recover_missing
from ..files.digests import digest_of_files
from ..files.written import RECIPE
from ..notes import note
from .formats import formats
from .running import files_in

UNLISTED = "not listed"


def standing(folder: Path, name: str, whole: bool) -> list[dict[str, Any]]:
    """The entries of the recipe file, each with its "state", and after them the files that it does not list, which is
    how an export that was killed leaves them. A note says of each that is not as listed what to do; `whole` is a
    directory that export can write them anew from."""
    found = [{k: v for k, v in e.items() if k != "parts"} | {"state": state(folder, e)} for e in recorded(folder)]
    listed = {e["path"] for e in found}
    for kind in formats:
        one = formats[kind]
        recover_missing(folder / kind)
        for file in files_in(folder, kind):
            path = file.relative_to(folder).as_posix()
            if path not in listed:
                parts = [part for part in one.parts(file) if part.is_file()]
                found.append({
                    "path": path, "format": kind, "precision": _precision(kind, path),
                    "bytes": sum(part.stat().st_size for part in parts), "sha256": digest_of_files(parts),
                    "state": UNLISTED,
                })  # fmt: skip
    said = {UNLISTED: f"is there, but {RECIPE} does not list it", "changed": f"is not the file that {RECIPE} lists"}
    for entry in found:
        if entry["state"] in said:
            note(f"{entry['path']} of {name} {said[entry['state']]}: {_advice(entry, name, whole)}.")
    return found


def _precision(kind: str, path: str) -> str | None:
    return next((p for p in formats[kind].precisions if formats[kind].file(p) == path), None)


def _advice(entry: dict[str, Any], name: str, whole: bool) -> str:
    kind = str(entry.get("format"))
    precision = _precision(kind, entry["path"]) if kind in list(formats) else None
    if precision is None:  # a name that no export on this machine writes
        return "'factcli push' leaves it out" if entry["state"] == UNLISTED else "write it anew where it was made"
    options = [f"--format {kind}", *([f"--precision {precision}"] if precision != "float32" else [])]
    options += ["--calibration TEXTS"] if precision in formats[kind].static else []
    of, into = (name, []) if whole else ("MODEL", [f"-o {name}"])
    return f"'factcli export {' '.join([of, *options, *into, '--overwrite'])}' writes it anew"
