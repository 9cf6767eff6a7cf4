"""Checkpoints of a run that is under way: which are whole, and whether they are of the same run."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..checkpoint import write_json
from ..errors import FactcliError, UsageError
from ..options import spelled

RUN = "run.json"
SEARCHED = "search.json"  # the learning rate that was found


def folder_of(output: Path) -> Path:
    """Where the checkpoints of a run are kept until its export stands."""
    return output.with_name(f"{output.name}-checkpoints")


def open_folder(folder: Path, run: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Make the folder of a run, or take up the one that is there.

    Raises FactcliError where another run left one, UsageError where there is nothing to resume.
    """
    if resume:
        if not (folder / RUN).is_file():
            raise UsageError(f"There is nothing to resume: {folder} has no run. Leave out --resume.")
        check_same(folder, run)
        return
    clear(folder, overwrite)
    folder.mkdir(parents=True)
    record(folder, run)


def record(folder: Path, run: dict[str, Any]) -> None:
    """Note down what a run is."""
    write_json(folder / RUN, run)


def check_same(folder: Path, run: dict[str, Any]) -> None:
    """Raises FactcliError where the folder is of another run, or of one that is not known."""
    try:
        kept = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FactcliError(f"{folder} does not say of which run it is: start anew with --overwrite.") from error
    different = differences(kept, json.loads(json.dumps(run)))
    if different:
        raise FactcliError(
            f"{folder} is of a run with other options or data: {', '.join(different)}. Give the same ones, or start "
            "anew with --overwrite."
        )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two identities, in a user's words."""
    found: list[str] = []
    for part in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(part), now.get(part)
        if old == new:
            continue
        if part in ("recipe", "training", "versions") and isinstance(old, dict) and isinstance(new, dict):
            keys = [*new, *(key for key in old if key not in new)]
            changed = [key for key in keys if old.get(key) != new.get(key)]
            found += [f"{_called(part, k)} ({_value(old, k)} then, {_value(new, k)} now)" for k in changed]
        else:
            said = "the model" if part == "source" else part
            found.append(f"{said} ({old} then, {new} now)" if isinstance(new, int) else said)  # digests say nothing
    return found


def _called(part: str, key: str) -> str:
    if part == "versions":
        return f"the version of {key}"
    return spelled(key) if part == "training" else f"{spelled(key)} of the factorization"


def _value(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "not given")
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def forget(folder: Path) -> None:
    """Remove the folder of a run, of its phases or its seeds, that left nothing to continue from."""
    if not any(list(folder.glob(pattern)) for pattern in ("checkpoint-*", SEARCHED, "[12]/*", "seed-*")):
        shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path, overwrite: bool) -> None:
    """Remove what an earlier run left. Raises FactcliError where that may not be."""
    if folder.exists() and not overwrite:
        raise FactcliError(f"{folder} holds an unfinished run: --resume continues it, --overwrite starts anew.")
    shutil.rmtree(folder, ignore_errors=True)


def last_checkpoint(folder: Path, processes: int) -> Path | None:
    """The newest whole checkpoint. A killed process may leave one half written: Trainer writes trainer_state.json last,
    and each process its own random state."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if _whole(path, processes)), None)


def _whole(path: Path, processes: int) -> bool:
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    try:
        json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((path / name).is_file() for name in [*names, "optimizer.pt", "scheduler.pt"])


def factorized_layers(checkpoint: Path) -> list[dict[str, Any]]:
    """The layers of the plan in a checkpoint's config.json, as far as they were factorized by then."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    layers: list[dict[str, Any]] = config.get("factorization", {}).get("layers", [])
    return layers
