"""What an export holds: files, ties, dtypes, tensors that only the checkpoint had."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from factcli import convert, load

from . import tiny


def test_files(tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    tiny.make("bert").save_pretrained(dense)
    (dense / "1_Pooling").mkdir()
    (dense / "1_Pooling" / "config.json").write_text("{}")
    module = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (dense / "modules.json").write_text(json.dumps([module]))
    for name in ("vocab.txt", "generation_config.json", "chat_template.jinja", "preprocessor_config.json"):
        (dense / name).write_text("{}")
    (dense / "training_args.bin").write_bytes(b"pickle")
    (dense / "eval_results.json").write_text("[]")  # of other weights
    (dense / "setup.py").write_text("raise SystemExit")
    convert(str(dense), tmp_path / "out", keep=0.5)
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "1_Pooling/config.json", "README.md", "chat_template.jinja", "config.json", "configuration_factorized.py",
        "embeddings_factorized.py", "factcli_recipe.yaml", "generation_config.json", "kernels_factorized.py",
        "model.safetensors", "modeling_factorized.py", "modules.json", "preprocessor_config.json",
        "tokenizer_config.json", "vocab.txt",
    ]  # fmt: skip


def test_config_is_the_source_s_word_for_word_but_for_ours(tmp_path: Path) -> None:
    tiny.make("llama", "LlamaForCausalLM", rope_theta=1234.5).save_pretrained(tmp_path / "dense")
    raw = json.loads((tmp_path / "dense" / "config.json").read_text())
    convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5)
    ours = json.loads((tmp_path / "out" / "config.json").read_text())
    changed = {"model_type", "architectures", "auto_map", "factorization"}
    assert {k: v for k, v in ours.items() if k not in changed} == {k: v for k, v in raw.items() if k not in changed}
    assert ours["model_type"] == "factorized_llama"
    assert ours["architectures"] == ["FactorizedLlamaForCausalLM"]
    assert "--" not in json.dumps(ours["auto_map"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_saved_in_the_dtype_of_the_source_or_as_asked(dtype: str, tmp_path: Path) -> None:
    kind = getattr(torch, dtype)
    tiny.make("bert").to(kind).save_pretrained(tmp_path / "dense")
    result = convert(str(tmp_path / "dense"), tmp_path / "same", keep=0.5)
    assert {t.dtype for t in load_file(tmp_path / "same" / "model.safetensors").values()} == {kind}
    assert result["bytes"]["after"] == kind.itemsize * result["parameters"]["after"]
    convert(str(tmp_path / "dense"), tmp_path / "asked", keep=0.5, dtype="bf16")
    assert {t.dtype for t in load_file(tmp_path / "asked" / "model.safetensors").values()} == {torch.bfloat16}
    assert load(tmp_path / "asked").dtype == torch.bfloat16


def test_tensors_that_the_class_does_not_use_are_kept(tmp_path: Path) -> None:
    """bert-base-uncased is a masked-LM checkpoint with a pooler: heads made from the export must find it."""
    tiny.make("bert", "BertForPreTraining").save_pretrained(tmp_path / "dense")
    raw = json.loads((tmp_path / "dense" / "config.json").read_text())
    (tmp_path / "dense" / "config.json").write_text(json.dumps(raw | {"architectures": ["BertForMaskedLM"]}))
    convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5)
    before, after = (load_file(tmp_path / d / "model.safetensors") for d in ("dense", "out"))
    assert torch.equal(before["bert.pooler.dense.weight"], after["bert.pooler.dense.weight"])
    head = transformers.AutoModelForSequenceClassification.from_pretrained(load(tmp_path / "out").name_or_path)
    assert torch.equal(head.bert.pooler.dense.weight, before["bert.pooler.dense.weight"])


def test_weights_that_the_source_lacks_are_not_invented(tmp_path: Path) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    tensors = load_file(tmp_path / "dense" / "model.safetensors")
    save_file({k: t for k, t in tensors.items() if "pooler" not in k}, tmp_path / "dense" / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5)
    assert not any("pooler" in k for k in load_file(tmp_path / "out" / "model.safetensors"))


def test_sharded_source_and_sharded_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense", max_shard_size="20KB")
    convert(str(tmp_path / "dense"), tmp_path / "whole", keep=0.5)
    monkeypatch.setattr("factcli.models.export.MAX_SHARD_SIZE", "10KB")
    convert(str(tmp_path / "dense"), tmp_path / "shards", keep=0.5)
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    whole, shards = load(tmp_path / "whole").state_dict(), load(tmp_path / "shards").state_dict()
    assert all(torch.equal(whole[k], shards[k]) for k in whole)


def test_a_shared_weight_stays_dense_with_a_reason(tmp_path: Path) -> None:
    from factcli.models.targets import find_targets

    model = tiny.make("bert")
    layers = model.encoder.layer
    layers[1].intermediate.dense.weight = layers[0].intermediate.dense.weight
    kept = {t.name for t in find_targets(model) if t.kept}
    assert kept == {f"encoder.layer.{i}.intermediate.dense" for i in (0, 1)}


def test_conv1d_is_transposed(tmp_path: Path) -> None:
    dense = tiny.make("gpt2")
    dense.save_pretrained(tmp_path / "dense")
    result = convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5)
    shapes = {layer["name"]: layer["shape"] for layer in result["layers"]}
    assert shapes["h.0.attn.c_attn"] == [96, 32]


def test_overwrite_replaces_the_whole_directory(tmp_path: Path) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    tiny.make("bert").save_pretrained(tmp_path / "out", max_shard_size="20KB")
    convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5, overwrite=True)
    assert [p.name for p in (tmp_path / "out").glob("*.safetensors*")] == ["model.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense", "out"]


def test_card(tmp_path: Path) -> None:
    tiny.make("bert", "BertForMaskedLM").save_pretrained(tmp_path / "dense")
    convert(str(tmp_path / "dense"), tmp_path / "out", method="monarch", blocks=2, keep=0.6)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "AutoModelForMaskedLM.from_pretrained" in card
    assert "library_name: transformers" in card
    assert str(tmp_path) not in card
