"""Measured results beside a model: eval_results.json, and the table in its card."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..card.results import update_results
from ..data.tasks import RETRIEVAL, Task, split_files
from ..errors import FactcliError
from ..files.atomic import updating, write_json
from ..files.digests import digest_of_files
from ..models.model import Model
from ..notes import note

RESULTS, OF_TRAINING = "eval_results.json", "finetune_results.json"
Entry = dict[str, Any]


def check_card(source: Model) -> None:
    """Raises FactcliError where the card of `source` could not be changed."""
    if source.repo_id is not None:
        raise FactcliError(f"{source.name} is on the Hub: --update-card changes cards of local directories.")
    if not os.access(source.path, os.W_OK):
        raise FactcliError(f"{source.path} is not writable: leave out --update-card.")


def identify(task: Task, split: str, data_dir: str | Path | None, commit: str | None) -> Entry:
    """What an entry says of its data: their SHA-256 (or the commit of the Hub), and the name of what is the user's."""
    if task.problem_type == RETRIEVAL:
        data = digest_of_files(task.paths.values()) if task.paths else commit
        return {"file": task.name} | ({"data": data} if data else {})
    if task.files:
        file = task.paths[split]
        return {"file": file.name, "data": digest_of_files([file])}
    if data_dir is not None:
        return {"data": digest_of_files(split_files(task, split, data_dir))}
    return {"data": commit} if commit else {}


def keep(source: Model, entry: Entry, weights: Sequence[Path], update_card: bool) -> None:
    """Put a result, of the files `weights`, into eval_results.json beside a model that is a directory, in place of an
    earlier one of the same data (and of the same file of a runtime, which it `runs`), and into its card. What was
    measured on a part of the data (`limit`) takes the place of no whole result; what was measured with other weights
    goes. Where nothing can be written a note says so."""
    if source.repo_id is not None:
        return
    file, card = source.path / RESULTS, source.path / "README.md"
    entry = entry | {"weights": digest_of_files(weights)}
    kept = [entry]
    try:
        with updating(file):
            old = read_results(source.path)
            if old is None:
                note(f"{file} is not of factcli and stays as it is: these results are not kept there.")
            else:
                current = [
                    r for r in old if _run(r) != _run(entry) or r.get("weights", entry["weights"]) == entry["weights"]
                ]
                if len(current) < len(old):
                    note(f"{file} had {len(old) - len(current)} results of other weights, which are dropped.")
                kept = [r for r in current if not _replaces(entry, r)] + [entry]
                write_json(file, kept)
    except OSError as error:
        note(f"{file} cannot be written ({error.strerror}): these results are not kept there.")
    if update_card:
        try:
            with updating(card):
                update_results(card, [*_of_training(source.path, kept), *kept], pipeline_tag=entry.get("task_type"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            raise FactcliError(
                f"{card} cannot be updated ({reason}): repair it, or leave out --update-card."
            ) from error


def read_results(folder: Path) -> list[Entry] | None:
    """The entries of eval_results.json; None where others wrote it, such as a script of transformers."""
    if not (folder / RESULTS).exists():
        return []
    try:
        values = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except ValueError:
        return None
    ours = isinstance(values, list) and all(isinstance(v, dict) and v.keys() >= {"task", "split"} for v in values)
    return values if ours else None


def accuracies(source: Model, weights: Sequence[Path], runs: str | None = None) -> dict[str, float]:
    """Task and split -> accuracy, as `evaluate` wrote them of all data and these weights, of the model or of the file
    of a runtime that it `runs`; nothing where it did not."""
    try:
        every = [e for e in read_results(source.path) or () if "limit" not in e and "accuracy" in e["metrics"]]
        whole = [e for e in every if _run(e) == runs]
        now = digest_of_files(weights) if any("weights" in e for e in whole) else None
        return {f"{e['task']} {e['split']}": e["metrics"]["accuracy"] for e in whole if e.get("weights", now) == now}
    except (OSError, TypeError, KeyError):
        return {}


def _of_training(folder: Path, kept: list[Entry]) -> list[Entry]:
    """What the training measured in the end, unless the same data have been measured since."""
    try:
        values = json.loads((folder / OF_TRAINING).read_text(encoding="utf-8"))
        entry = {k: values[k] for k in ("task", "metrics", "majority")} | values["validation"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    ours = [r for r in kept if _run(r) is None]
    again = any(_same(entry, r) and "limit" not in r for r in ours)
    return [] if again or not ours or entry.get("weights") != ours[-1].get("weights") else [entry]


def _run(entry: Entry) -> str | None:
    """The file of a runtime that was run; None for the model itself."""
    return entry.get("runs")


def _replaces(new: Entry, old: Entry) -> bool:
    return _same(new, old) and ("limit" not in new or new["limit"] == old.get("limit"))


def _same(a: Entry, b: Entry) -> bool:
    """Whether two results are of the same data: of GLUE by name, of users' files by content."""
    if a.get("split") != b.get("split") or _run(a) != _run(b):
        return False
    if "data" in a and "data" in b and ("file" in a or "file" in b):
        return a["data"] == b["data"] and "file" in a and "file" in b
    return bool(a.get("task") == b.get("task"))
