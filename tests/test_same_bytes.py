"""Three recipes on a model that is kept with them give the weights that they gave before.

On a computer whose arithmetic rounds as that which made them (told by a probe) these are the same bytes.
`python -m tests.test_same_bytes` makes the files anew: for a change of results that is wanted, and says why.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factcli import convert, finetune

from .training_helpers import rows, save_model, write_csv

DATA = Path(__file__).parent / "data" / "same-bytes"
WEIGHTS = "model.safetensors"
RECIPES: dict[str, dict[str, Any]] = {
    "kfac-global": {
        "method": "low-rank", "keep": 0.5, "criterion": "kfac", "allocation": "global",
        "calibration": "train.csv", "fisher": "empirical", "seed": 3,
    },
    "monarch-fisher": {
        "method": "monarch", "blocks": 2, "keep": 0.6, "criterion": "fisher", "calibration": "train.csv",
        "dtype": "bfloat16",
    },
    "staged": {
        "method": "low-rank", "rank": 6, "train": "train.csv", "validation": "train.csv", "schedule": "staged",
        "stage_steps": 2, "max_steps": 4, "batch_size": 16, "learning_rate": 1e-3, "device": "cpu",
    },
}  # fmt: skip


def probe() -> str:
    """A digest of what this computer makes of decompositions and products, in both precisions."""
    made = torch.Generator().manual_seed(0)
    found = hashlib.sha256()
    for dtype in (torch.float32, torch.float64):
        matrix = torch.randn(96, 64, generator=made).to(dtype)
        u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
        values, vectors = torch.linalg.eigh(matrix.T @ matrix)
        for tensor in (u, s, values, vectors, torch.nn.functional.gelu(matrix).softmax(1), torch.tanh(matrix)):
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def result(name: str, folder: Path) -> Path:
    """The weights that a recipe gives, made in `folder`, which has the model and its data."""
    files = {key: str(folder / value) if str(value).endswith(".csv") else value for key, value in RECIPES[name].items()}
    run = finetune if "train" in files else convert
    run(str(folder / "model"), str(folder / name), **files)
    return folder / name / WEIGHTS


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_weights_are_those_of_before(name: str, tmp_path: Path) -> None:
    shutil.copytree(DATA / "source", tmp_path, dirs_exist_ok=True)
    made, kept = result(name, tmp_path), DATA / f"{name}.safetensors"
    if probe() == json.loads((DATA / "probe.json").read_text())["probe"]:
        assert made.read_bytes() == kept.read_bytes()
    else:
        now, before = load_file(made), load_file(kept)
        assert now.keys() == before.keys()
        for key, tensor in before.items():
            assert now[key].dtype == tensor.dtype
            torch.testing.assert_close(now[key], tensor, atol=2e-3, rtol=2e-2)


def make() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    source = DATA / "source"
    save_model(source / "model", head="BertForSequenceClassification", num_labels=2, id2label={0: "no", 1: "yes"})
    write_csv(source / "train.csv", rows(48, seed=1))
    (DATA / "probe.json").write_text(json.dumps({"probe": probe()}) + "\n")
    work = DATA / "work"
    shutil.copytree(source, work)
    for name in RECIPES:
        shutil.copy(result(name, work), DATA / f"{name}.safetensors")
    shutil.rmtree(work)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(make())
