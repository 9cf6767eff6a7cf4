"""What the benchmarks that train have in common: a run that resumes, its record, a mean with its deviation."""

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def finetune(model: str, data_dir: str, work: Path, chosen: list[str], keep: Path | None = None) -> dict[str, Any]:
    """One `factcli finetune` with the options `chosen`, resumed where an earlier one was interrupted; its result.

    The model is deleted, or moved to `keep`.
    """
    output = work / "model"
    identity, marker = json.dumps([model, *chosen]), work / "run"
    resume = ["--resume"] if marker.is_file() and marker.read_text() == identity else []
    under_way = [work / "model-checkpoints" / "run.json"]
    if not (resume and any(file.is_file() for file in under_way)):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        marker.write_text(identity)
        resume = []
    command = [sys.executable, "-m", "factcli", "finetune", model, "--data-dir", data_dir, *chosen]
    command += ["--save-steps", "100", "-o", str(output), "--json", *resume]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(chosen)} failed")
    result: dict[str, Any] = json.loads(done.stdout)
    if keep is not None:
        output.rename(keep)
    shutil.rmtree(work)
    return result


def record(commit: str | None) -> dict[str, Any]:
    """What a result was measured with. `commit` of factcli; asked of git where it is None."""
    where = Path(__file__).parent
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {p: version(p) for p in ("torch", "transformers", "datasets", "accelerate")}
        | {"python": platform.python_version(), "factcli commit": commit or asked or None},
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def read(file: Path) -> list[dict[str, Any]]:
    """The entries of a results file; none where there is no file yet."""
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
    return found


def mean(values: list[float]) -> str:
    """ "0.7868 ± 0.0123", with the sample deviation."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", flush=True)
