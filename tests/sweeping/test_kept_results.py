"""The results that are kept are those of the sweeps beside them, run for run."""

import json
from pathlib import Path
from typing import Any

import pytest

import factcli

from ..conftest import ROOT

SWEEPS = {"training-minilm": 83, "glue-minilm": 35, "pruning-minilm": 4}


def asked(run: dict[str, Any]) -> dict[str, Any]:
    """Of a run, without what --set gave it and the ids of its parts."""
    own = {name: value for name, value in run["options"].items() if name not in ("data_dir", "model", "teacher")}
    return {"commands": run["commands"], **own}


@pytest.mark.parametrize(("name", "count"), SWEEPS.items())
def test_each_is_of_a_run(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = factcli.sweep(ROOT / "recipes" / "sweeps" / f"{name}.yaml", str(tmp_path / "none"), status=True)["runs"]
    by_labels = {json.dumps(run["labels"], sort_keys=True): run for run in runs}
    kept = [json.loads(file.read_text()) for file in (ROOT / "recipes" / "results" / name / "results").glob("*.json")]
    assert len(kept) == count
    for record in kept:
        assert record["state"] == "done"
        assert asked(record) == asked(by_labels[json.dumps(record["labels"], sort_keys=True)]), record["name"]
    assert len({record["key"] for record in kept}) == count
