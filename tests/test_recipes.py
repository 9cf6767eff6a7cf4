"""Every shipped recipe runs, and an export's own recipe gives the same bytes again."""

from pathlib import Path

import pytest
import transformers
import yaml

from factcli import convert, inspect

from . import tiny

RECIPES = Path(__file__).parent.parent / "recipes"
PAPER = {"28M": 28.53, "44M": 44.45, "56M": 56.40, "84M": 84.27}
METHODS = ("low-rank", "block-low-rank", "monarch")
SEED_PAPER = [f"{method}-{size}" for method in METHODS for size in PAPER]
PLAIN = [*SEED_PAPER, "minilm-monarch-half"]  # recipes that need no data


@pytest.fixture(scope="module")
def one_wide_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer as wide as BERT-base's, so that the ranks of the recipes fit, and little else."""
    folder = tmp_path_factory.mktemp("wide") / "dense"
    tiny.make(
        "bert", hidden_size=768, intermediate_size=3072, num_hidden_layers=1, num_attention_heads=12
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", PLAIN)
def test_recipe_runs(name: str, one_wide_layer: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    result = convert(str(one_wide_layer), tmp_path / "out", config=RECIPES / f"{name}.yaml")
    assert {layer["structure"] for layer in result["layers"]} == {values["method"]}
    assert inspect(tmp_path / "out")["targets"]["after"] == result["targets"]["after"]


@pytest.mark.parametrize("name", SEED_PAPER)
def test_recipe_has_the_size_of_the_paper(name: str, tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    plan = convert(str(tmp_path), config=RECIPES / f"{name}.yaml", dry_run=True)
    assert round(plan["parameters"]["after"] / 1e6, 2) == PAPER[name.rpartition("-")[2]]


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_of_an_export_repeats_it_byte_for_byte(method: str, tmp_path: Path) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    convert(str(tmp_path / "dense"), tmp_path / "a", method=method, keep=0.6, exclude=["value"], **tiny.blocks(method))
    convert(str(tmp_path / "dense"), tmp_path / "b", config=tmp_path / "a" / "factcli_recipe.yaml")
    names = sorted(str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*"))
    assert names == sorted(str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*"))
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
