"""Budgets and plans: the numbers of the papers, from configurations alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import transformers

from factcli import FactcliError, convert
from factcli.errors import UsageError
from factcli.recipe.factorizing import Budget, Size
from factcli.recipe.file import make_recipe
from factcli.recipe.reading import resolve
from factcli.recipe.values import format_count

from . import tiny

BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
DEBERTA_V3 = {
    "vocab_size": 128100, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "type_vocab_size": 0, "relative_attention": True, "position_buckets": 256,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "layer_norm_eps": 1e-7,
    "max_relative_positions": -1, "position_biased_input": False, "pooler_dropout": 0, "pooler_hidden_act": "gelu",
}  # fmt: skip
T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
# seed paper, table 2: parameters in millions before, and after by rank
SIZES: list[tuple[str, transformers.PretrainedConfig, str | None, float, dict[int, float]]] = [
    ("bert-base", transformers.BertConfig(), None, 109.48, {24: 28.53, 120: 44.45, 192: 56.40, 360: 84.27}),
    ("bert-large", transformers.BertConfig(**BERT_LARGE), "BertModel", 335.14,
     {32: 47.31, 128: 89.78, 288: 160.55, 416: 217.18}),
    ("deberta-v3-base", transformers.DebertaV2Config(**DEBERTA_V3), "DebertaV2ForSequenceClassification", 184.42,
     {24: 103.47, 120: 119.40, 240: 139.30, 360: 159.21}),
    ("t5-base", transformers.T5Config(**T5_BASE), "T5ForConditionalGeneration", 222.90,
     {24: 34.45, 72: 53.92, 216: 112.31, 288: 141.51}),
]  # fmt: skip


def config_only(folder: Path, config: transformers.PretrainedConfig, architecture: str | None = None) -> str:
    folder.mkdir()
    config.architectures = [architecture] if architecture else None
    config.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("name", "config", "architecture", "before", "after"), SIZES, ids=[s[0] for s in SIZES])
def test_sizes_of_the_paper(
    name: str, config: Any, architecture: str | None, before: float, after: dict[int, float], tmp_path: Path
) -> None:
    model = config_only(tmp_path / name, config, architecture)
    for rank, millions in after.items():
        plan = convert(model, method="low-rank", rank=rank, dry_run=True)
        assert round(plan["parameters"]["before"] / 1e6, 2) == before
        assert round(plan["parameters"]["after"] / 1e6, 2) == millions
        assert sum(layer["parameters"] for layer in plan["layers"]) == plan["targets"]["after"]


def test_a_dry_run_takes_under_three_seconds(tmp_path: Path) -> None:
    model = config_only(tmp_path / "large", transformers.BertConfig(**BERT_LARGE))
    started = time.perf_counter()
    convert(model, params="100M", dry_run=True)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("method", ["block-low-rank", "monarch"])
def test_block_forms_have_the_same_sizes_at_a_quarter_of_the_rank(method: str, tmp_path: Path) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    for rank, millions in {6: 28.53, 30: 44.45, 48: 56.40, 90: 84.27}.items():
        plan = convert(model, method=method, rank=rank, dry_run=True, **tiny.blocks(method, 4))
        assert round(plan["parameters"]["after"] / 1e6, 2) == millions


def test_budgets_are_met_from_below_by_the_nearest_plan(tmp_path: Path) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    unit = 12 * (4 * 1536 + 2 * 3840)
    plan = convert(model, params="44M", dry_run=True)
    assert 44_000_000 - unit < plan["parameters"]["after"] <= 44_000_000
    assert {layer["rank"] for layer in plan["layers"]} == {117}
    plan = convert(model, keep=0.25, dry_run=True)
    assert 0.25 * 84_934_656 - unit < plan["targets"]["after"] <= 0.25 * 84_934_656


def test_at_the_break_even_rank_a_target_stays_dense(tmp_path: Path) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    layers = {layer["name"]: layer for layer in convert(model, rank=384, dry_run=True)["layers"]}
    query = layers["encoder.layer.0.attention.self.query"]
    assert (query["structure"], query["rank"], query["parameters"]) == ("dense", None, 768 * 768)
    assert "384.0" in query["reason"]
    assert layers["encoder.layer.0.intermediate.dense"]["rank"] == 384
    forced = convert(model, rank=384, force_rank=True, dry_run=True)
    assert {layer["structure"] for layer in forced["layers"]} == {"low-rank"}


def test_include_and_exclude(tmp_path: Path) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    names = [layer["name"] for layer in convert(model, keep=0.5, include=["output"], dry_run=True)["layers"]]
    assert len(names) == 24
    names = [
        layer["name"]
        for layer in convert(model, keep=0.5, include=["output"], exclude=[r"layer\.(0|1)\."], dry_run=True)["layers"]
    ]
    assert len(names) == 20


def test_targets_are_the_linear_layers_of_the_blocks() -> None:
    from factcli.models.targets import find_targets

    model = tiny.make("bert", "BertForSequenceClassification")
    names = {t.name for t in find_targets(model.base_model)}
    linear = {n for n, m in model.bert.named_modules() if type(m).__name__ == "Linear"}
    assert names == {n for n in linear if n.startswith("encoder.layer.")}
    assert not any(part in name for name in names for part in ("embeddings", "pooler", "classifier"))


@pytest.mark.parametrize(("text", "count"), [("44M", 44_000_000), ("1.2B", 1_200_000_000), ("44400000", 44_400_000),
                                              ("28.53m", 28_530_000), ("500k", 500_000), (7, 7)])  # fmt: skip
def test_counts(text: str | int, count: int) -> None:
    assert resolve(Size, {"params": text}).params == count


@pytest.mark.parametrize("text", ["banana", "-3M", "44 MB", "1.2.3M", "nan"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="44M"):
        resolve(Size, {"params": text})


def test_format_count() -> None:
    assert [format_count(n) for n in (44_454_144, 1.2e9, 999, 1500)] == ["44.45M", "1.20B", "999", "1.50k"]


def test_exactly_one_budget() -> None:
    with pytest.raises(UsageError, match="exactly one"):
        Budget()
    with pytest.raises(UsageError, match="--params and --rank"):
        Budget(params=5, rank=3)


@pytest.mark.parametrize(("budget", "said"), [({"params": "1M"}, "24.71M"), ({"params": "200M"}, "109.48M"),
                                               ({"keep": 0.0001}, "feasible range")])  # fmt: skip
def test_budget_out_of_range_says_the_range(budget: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    with pytest.raises(FactcliError, match=said):
        convert(model, dry_run=True, **budget)


def test_flags_win_over_the_recipe_and_a_budget_replaces_the_budget(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("method: monarch\nblocks: 2\nkeep: 0.3\n")
    recipe = make_recipe(tmp_path / "r.yaml", {"rank": 5, "blocks": None})
    assert (recipe.method, recipe.blocks, recipe.keep, recipe.rank) == ("monarch", 2, None, 5)
    assert make_recipe(tmp_path / "r.yaml", {"blocks": 8}).blocks == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methd: x", "did you mean 'method'"),
        ("- a", "mapping"),
        ("a: [", "YAML"),
        ("rank: many", "rank"),
        ("params: banana", "44M"),
        ("keep: yes", "keep"),
    ],
)
def test_bad_recipes(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(FactcliError, match=said):
        make_recipe(tmp_path / "r.yaml", {})


def test_dry_run_needs_no_weights(tmp_path: Path, factcli: Any) -> None:
    model = config_only(tmp_path / "bert", transformers.BertConfig())
    done = factcli("convert", model, "--keep", "0.25", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    names = [
        "model",
        "purpose",
        "method",
        "criterion",
        "allocation",
        "parameters",
        "targets",
        "bytes",
        "parts",
        "layers",
    ]
    assert list(result) == names
    assert list(result["parts"]) == ["embeddings", "attention", "feed-forward", "rest"]
    assert all(sum(p[side] for p in result["parts"].values()) == result["bytes"][side] for side in ("before", "after"))
    assert result["parts"]["embeddings"]["before"] == 4 * (30522 + 512 + 2 + 2) * 768
    assert result["bytes"]["before"] == 4 * result["parameters"]["before"]
    assert list(tmp_path.iterdir()) == [tmp_path / "bert"]
