"""What a search has found so far, so that one that was killed goes on: its candidates, and what they are of."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import FactcliError
from ..files.atomic import write_json
from ..notes import note
from .bisection import Candidate

NAME = "search.json"
HEAL, HEALING = "heal", "healing"  # the texts that candidates learn on; where one does, SHARE-healing
_OWN = re.compile(rf"search\.json|{HEAL}|\d+\.\d+(-{HEALING}|\.(unchecked|new)(-\d+)?)?")
_HIDDEN = re.compile(r"\..+\.([0-9a-f]{12}\.(partial|old)|lock)")  # what is not whole yet, and who is at it


class Journal:
    """Kept in the folder of a search, for one `identity` (values that JSON has): of another one it is begun anew, which
    is said."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self._file = folder, folder / NAME
        self._identity = json.loads(json.dumps(identity, default=str, sort_keys=True))
        self._found: dict[float, Candidate] = {}
        there = _read(self._file)
        if there.get("of") == self._identity:
            self._found = {one["keep"]: Candidate(**one) for one in there["candidates"]}
            if self._found:
                note(f"{len(self._found)} candidates are known of a search that was interrupted.")
        elif there:
            note(f"{folder} holds another search than this one, which begins anew.")
        self._write()

    def known(self, keep: float) -> Candidate | None:
        """The candidate of a share, where it was made."""
        return self._found.get(keep)

    @property
    def empty(self) -> bool:
        return not self._found

    def add(self, candidate: Candidate) -> None:
        """It is on disk when this returns."""
        self._found[candidate.keep] = candidate
        self._write()

    def _write(self) -> None:
        found = [asdict(one) for one in self._found.values()]
        write_json(self._file, {"of": self._identity, "candidates": found})


def check_own(folder: Path) -> None:
    """Raises FactcliError where a folder is there that no search made, or that holds what is not of one."""
    if not folder.exists():
        return
    entries = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    named = [entry.name for entry in entries if not _HIDDEN.fullmatch(entry.name)]  # none before the journal is whole
    if not folder.is_dir() or not all(map(_OWN.fullmatch, named)) or (named and not _read(folder / NAME)):
        raise FactcliError(f"{folder} is in the way of the folder of a search: move it, or choose another --output.")


def _read(file: Path) -> dict[str, Any]:
    """What the file says; nothing where it is none of ours."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and values.keys() >= {"of", "candidates"} else {}
