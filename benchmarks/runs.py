"""What the benchmarks that train have in common: what a result was measured with, and the file of results."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


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


def say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", flush=True)
