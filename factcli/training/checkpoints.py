"""Checkpoints of a run that is under way: which are whole, and whether they are of the same run."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..checkpoint import write_json
from ..errors import FactcliError, UsageError

RUN = "run.json"


def folder_of(output: Path) -> Path:
    """Where the checkpoints of a run are kept until its export stands."""
    return output.with_name(f"{output.name}-checkpoints")


def open_folder(folder: Path, run: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Make the folder of a run, or take up the one that is there.

    Raises FactcliError where another run left one, UsageError where there is nothing to resume.
    """
    file = folder / RUN
    if resume:
        if not file.is_file():
            raise UsageError(f"There is nothing to resume: {folder} has no run. Leave out --resume.")
        kept = json.loads(file.read_text(encoding="utf-8"))
        different = sorted(key for key in kept.keys() | run.keys() if kept.get(key) != run.get(key))
        if different:
            raise FactcliError(
                f"{folder} is of a run with other options ({', '.join(different)}): give the same ones, or start anew "
                "with --overwrite."
            )
        return
    clear(folder, overwrite)
    folder.mkdir(parents=True)
    write_json(file, run)


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
