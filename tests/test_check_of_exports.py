"""The check of what was written: damage on the way to the disk is found, and what was written is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file

import factcli
from factcli.errors import CheckFailed
from factcli.files.atomic import write_json

from . import tiny

NAME = "encoder.layer.0.attention.self.query.weight"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    tiny.make("bert").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def lose(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k != "embeddings.word_embeddings.weight"}


def change(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"embeddings.LayerNorm.bias": state["embeddings.LayerNorm.bias"] + 1}


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lose, "embeddings.word_embeddings.weight is missing; please report this."),
     (change, "embeddings.LayerNorm.bias differs; please report this.")],
)  # fmt: skip
def test_tensors(
    damage: Callable[..., Any], said: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(state: dict[str, Any], *rest: Any, **more: Any) -> None:
        save_torch_state_dict(damage(state), *rest, **more)

    monkeypatch.setattr("factcli.models.export.save_torch_state_dict", save)
    with pytest.raises(CheckFailed, match=f"What was written does not reload: {said} What was written is kept in"):
        factcli.convert(str(bert), tmp_path / "out", keep=0.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "out.unchecked"]


def test_a_configuration(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor is right, and what the model answers is not."""

    def other(file: Path, values: dict[str, Any]) -> None:
        write_json(file, values | ({"hidden_act": "relu"} if file.name == "config.json" else {}))

    monkeypatch.setattr("factcli.models.export.write_json", other)
    with pytest.raises(CheckFailed, match="does not reload: its outputs differ; please report this"):
        factcli.convert(str(bert), tmp_path / "out", keep=0.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "out.unchecked"]


def test_numbers_that_float32_does_not_hold(bert: Path, tmp_path: Path) -> None:
    """Products of weights that float64 alone has numbers for."""
    file = bert / "model.safetensors"
    tensors = {name: tensor.double() for name, tensor in load_file(file).items()}
    for part in ("intermediate", "output"):
        tensors[f"encoder.layer.1.{part}.dense.weight"] *= 1e25
    save_file(tensors, file, {"format": "pt"})
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"dtype": "float64"}))
    with pytest.raises(CheckFailed, match=r"not finite in float32, first those of encoder\.layer\.1\.output\.dense"):
        factcli.convert(str(bert), tmp_path / "out", keep=0.5, dtype="float32")


def test_a_model_that_needs_more_than_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = transformers.LxmertConfig(
        vocab_size=99, hidden_size=32, num_attention_heads=4, intermediate_size=64, l_layers=1, x_layers=1, r_layers=1,
        visual_feat_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LxmertModel(config).save_pretrained(tmp_path / "lxmert")
    factcli.convert(str(tmp_path / "lxmert"), tmp_path / "out", keep=0.5)
    assert "LxmertModel does not run on tokens alone, so that outputs were not compared (" in caplog.text
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_apple_s_gpus_have_no_float64(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    factcli.convert(str(bert), tmp_path / "out", keep=0.5, device="mps")
    assert "--device mps: this runs on the CPU, because Apple's GPUs have no float64." in caplog.text
