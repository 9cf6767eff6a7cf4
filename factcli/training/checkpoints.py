"""Folders of runs that are under way: whether they are of the same run, and which checkpoints in them are whole."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..errors import FactcliError, UsageError
from ..files.atomic import write_json
from ..files.outputs import SPARED
from ..notes import note
from ..recipe.fields import spelled

RUN = "run.json"
SEARCHED = "search.json"  # the learning rate that was found
CHECKPOINTS, SEEDS = "checkpoints", "seeds"  # folders beside the output, NAME-checkpoints and so on
# What a run, its phases or its seeds put into such a folder.
_OWN = re.compile(
    r"run\.json|search\.json|(tmp-)?checkpoint-\d+|runs|[12]|finetune_results\.json|"
    r"seed-\d+(\.json|-checkpoints)?|\..+\.([0-9a-f]{12}\.(partial|old)|lock)"
)


def folder_of(output: Path) -> Path:
    """Where the checkpoints of a run are kept until its export stands."""
    return output.with_name(f"{output.name}-{CHECKPOINTS}")


def open_folder(folder: Path, run: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Make the folder of a run, or take up the one that is there.

    Raises FactcliError where another run left one, or it is no run's, UsageError where there is nothing to resume.
    """
    if resume:
        if _run(folder) is None:
            raise UsageError(f"There is nothing to resume: {folder} has no run. Leave out --resume.")
        check_same(folder, run)
        return
    clear(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, run)


def check_same(folder: Path, run: dict[str, Any]) -> None:
    """Raises FactcliError where the folder is of another run."""
    different = differences(_run(folder) or {}, json.loads(json.dumps(run)))
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
    """Remove the folder of a run, or of its seeds, that left nothing to continue from."""
    if not any(list(folder.glob(pattern)) for pattern in ("checkpoint-*", SEARCHED, "[12]/*", "seed-*")):
        close_folder(folder)


def check_clear(folder: Path, overwrite: bool) -> None:
    """Raises FactcliError where `clear` would."""
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise FactcliError(f"{folder} is in the way of a folder of the run: move it, or choose another --output.")
        return
    strange = _strange(folder)
    if strange is not None:
        raise FactcliError(
            f"{folder} is in the way of a folder of the run and {strange}: move it, or choose another --output."
        )
    if any(folder.iterdir()) and not overwrite:
        raise FactcliError(f"{folder} holds an unfinished run: --resume continues it, --overwrite starts anew.")


def clear(folder: Path, overwrite: bool) -> None:
    """Remove what an earlier run left. Raises FactcliError where that may not be, or it is no run's."""
    check_clear(folder, overwrite)
    if folder.is_dir():
        _remove(folder)


def close_folder(folder: Path) -> None:
    """Remove the folder of a run that is done; what others put there stays, which is said."""
    if folder.is_dir():
        _remove(folder)
        if folder.is_dir() and any(folder.iterdir()):
            note(f"{folder} holds {min(folder.iterdir()).name}, which is not of the run, and stays.")


def _run(folder: Path) -> dict[str, Any] | None:
    """What run.json of a run's folder says; None where it is no run's."""
    try:
        values = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.keys() >= {"training", "versions"} else None


def _strange(folder: Path) -> str | None:
    """What speaks against a run having made a folder: the end of a sentence; None where nothing does."""
    entries = sorted(folder.iterdir())
    other = [p for p in entries if not _OWN.fullmatch(p.name)]
    other += [p for p in folder.glob("[12]/*") if SPARED.search(p.name)]
    if other:
        return f"holds {other[0].relative_to(folder)}, which is not of a run"
    return None if not entries or _run(folder) is not None else f"has no {RUN} of a run"


def _remove(folder: Path) -> None:
    # What says that it is a run's goes last: what is killed in between is known again.
    for entry in sorted(folder.iterdir(), key=lambda p: p.name == RUN):
        if _OWN.fullmatch(entry.name):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    if not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


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
