"""The seed paper's grid: its runs, and its sizes (table 2), from configurations alone."""

from pathlib import Path

import pytest
import transformers

import factcli

from ..conftest import ROOT
from ..test_plan import DEBERTA_V3

FILE = ROOT / "recipes" / "sweeps" / "seed-paper.yaml"
SIZES = {  # millions of parameters after
    "BERT-base": {"28.5M": 28.53, "44.4M": 44.45, "56.4M": 56.40, "84.3M": 84.27},
    "BERT-large": {"47.3M": 47.31, "89.8M": 89.78, "160.6M": 160.55, "217.2M": 217.18},
    "DeBERTa-base": {"103.5M": 103.47, "119.4M": 119.40, "139.3M": 139.30, "159.2M": 159.21},
    "T5-base": {"34.6M": 34.45, "54.1M": 53.92, "112.5M": 112.31, "141.7M": 141.51},
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations under the names that the file has."""
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    t5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    for name, config, head in (
        ("bert-base-uncased", transformers.BertConfig(), "BertModel"),
        ("bert-large-uncased", transformers.BertConfig(**large), "BertModel"),
        ("microsoft/deberta-v3-base", transformers.DebertaV2Config(**DEBERTA_V3), "DebertaV2ForSequenceClassification"),
        ("t5-base", transformers.T5Config(**t5), "T5ForConditionalGeneration"),
    ):
        config.architectures = [head]
        config.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)


def test_its_runs_and_sizes(models: None) -> None:
    planned = factcli.sweep(FILE, dry_run=True)
    runs = planned["runs"]
    # 6 tasks, 6 seeds: 4 sizes of the 3 structures on 4 models, 4 more ways of staging on one, and 4 dense models
    assert planned["totals"] == {
        "runs": 36 * (4 * 3 * 4 + 4 * 4 + 4), "planned": 2448, "running": 0, "done": 0, "failed": 0
    }  # fmt: skip
    assert len({run["id"] for run in runs}) == 2448
    found: dict[str, dict[str, set[float]]] = {}
    for run in runs:
        if run["labels"]["size"] != "dense":
            sizes = found.setdefault(run["labels"]["model"], {}).setdefault(run["labels"]["size"], set())
            sizes.add(round(run["result"]["parameters"]["after"] / 1e6, 2))
    assert found == {model: {size: {count} for size, count in sizes.items()} for model, sizes in SIZES.items()}
    staged = {run["labels"]["structure"] for run in runs if run["options"].get("schedule") == "staged"}
    assert staged == {"Low-Rank", "Low-Rank, low to high", "Block LR, staged", "Monarch, staged"}
