"""What factcli and the libraries write is known, and whatever else lies in a model is the user's."""

import shutil
from pathlib import Path

import pytest
import torch

import factcli
from factcli.files.outputs import Output
from factcli.files.written import foreign

from .. import tiny
from ..training_helpers import save_model, save_tokenizer
from .helpers import refuse


@pytest.mark.parametrize("what", ["notes.txt", "notes.md", ".git/HEAD", "other/config.json", "checkpoint-5/a.bin",
                                  "train.py", "model_old.safetensors", "data/train.csv", "README.md"])  # fmt: skip
def test_a_model_with_something_of_the_user_s_in_it(what: str, place: Path) -> None:
    """README.md: an export has one of its own, save_pretrained writes none."""
    folder = place / "models" / ("export" if what != "README.md" else "dense")
    (folder / what).parent.mkdir(exist_ok=True)
    (folder / what).write_text("{}")
    assert foreign(folder) == f"holds {what}, which neither factcli nor save_pretrained wrote"
    source = place / "source"
    shutil.copytree("models/dense", source)
    refuse(place, f"holds {what}", lambda: factcli.convert(str(source), folder, keep=0.5, overwrite=True))
    refuse(place, "--overwrite does not replace it", lambda: factcli.convert(str(source), folder, keep=0.5))


def test_what_the_libraries_write_is_known(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import TrainingArguments

    for name, kind in {"bert": "bert", "gpt2": "gpt2", "t5": "t5"}.items():
        tiny.make(kind).save_pretrained(tmp_path / name, max_shard_size="20KB")
        save_tokenizer(tmp_path / name)
        torch.save(TrainingArguments(tmp_path, report_to="none"), tmp_path / name / "training_args.bin")
        assert foreign(tmp_path / name) is None, name
    (tmp_path / "empty").mkdir()
    assert foreign(tmp_path / "empty") is None
    save_model(tmp_path / "base")
    SentenceTransformer(str(tmp_path / "base")).save_pretrained(str(tmp_path / "st"), create_model_card=False)
    assert foreign(tmp_path / "st") is None
    (tmp_path / "st" / "1_Pooling" / "mine.txt").write_text("")
    assert foreign(tmp_path / "st") == "holds 1_Pooling/mine.txt, which neither factcli nor save_pretrained wrote"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "config.json").write_text('{"port": 80}')
    assert foreign(tmp_path / "app") == "is not a model (it holds config.json)"
    (tmp_path / "bert" / "more").symlink_to(tmp_path / "gpt2")
    assert str(foreign(tmp_path / "bert")).startswith("holds more")


def test_an_export_is_known_whatever_it_carries(place: Path) -> None:
    (place / "models" / "dense" / "strange.vocab").write_text("a\n")
    for _ in range(2):
        factcli.convert("models/dense", "small", keep=0.5, overwrite=True)
    assert foreign(place / "small") is None
    assert "files" not in factcli.inspect("small")["made_with"]
    recipe = place / "small" / "factcli_recipe.yaml"
    before = recipe.read_bytes()
    shutil.copy(recipe, "recipe.yaml")
    factcli.convert("models/dense", "small", config="recipe.yaml", overwrite=True)
    assert recipe.read_bytes() == before
    recipe.write_text("method: low-rank\n")  # as earlier versions left it
    (place / "small" / "strange.vocab").unlink(missing_ok=True)
    (place / "small" / "eval_results.json").write_text("[]")
    assert foreign(place / "small") is None
    (place / "small" / "README.md").write_text("# Mine")
    assert foreign(place / "small") == "holds README.md, which neither factcli nor save_pretrained wrote"


def test_what_was_signed_is_known(tmp_path: Path) -> None:
    with Output(tmp_path / "out").new() as work:
        (work / "own [code]").mkdir()
        for name in ("config.json", "factcli_recipe.yaml", "own [code]/tokens.bin"):
            (work / name).write_text('{"model_type": "bert"}')
    assert foreign(tmp_path / "out") is None
    (tmp_path / "out" / "own [code]" / "more.bin").write_text("")
    assert foreign(tmp_path / "out") == "holds own [code]/more.bin, which neither factcli nor save_pretrained wrote"
