"""Weights as people have them: loaded as transformers would, or refused in a sentence; counted as the file has them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from factcli import FactcliError, convert, finetune, inspect, load
from factcli.compress.criteria import criteria
from factcli.compress.structures import structures
from factcli.models.model import find_model

from . import tiny
from .hub import HubServer
from .hub_client import HubClient
from .training_helpers import rows, save_model, weights, write_csv

QUERY = "bert.encoder.layer.0.attention.self.query"
EMBEDDINGS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked-LM BERT, whose head is tied."""
    folder = tmp_path_factory.mktemp("saved") / "bert"
    tiny.make("bert", "BertForMaskedLM").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(saved: Path) -> dict[str, Tensor]:
    """What its conversion holds."""
    convert(str(saved), saved.parent / "plain", keep=0.5)
    return weights(saved.parent / "plain")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "bert"))


def write(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")


def configure(folder: Path, **values: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | values))


def write_index(folder: Path, files: dict[str, str], **values: Any) -> None:
    about = {"metadata": {}, "weight_map": files} | values
    (folder / "model.safetensors.index.json").write_text(json.dumps(about))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def converted(folder: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an export holds, after its sizes were found to be those of the files, as the dry run said, but for the one
    element in the place of each matrix."""
    planned = convert(str(folder), keep=0.5, dry_run=True, **options)
    result = convert(str(folder), tmp_path / "out", keep=0.5, **options)
    assert {k: result[k] for k in ("parameters", "bytes")} == {k: planned[k] for k in ("parameters", "bytes")}
    before, after = (
        find_model(str(p), accept_factorized=True).stored.tensors.values() for p in (folder, tmp_path / "out")
    )
    swapped = sum(layer["structure"] != "dense" for layer in result["layers"])
    assert result["bytes"]["before"] == sum(t.bytes for t in before)
    assert 0 <= sum(t.bytes for t in after) - result["bytes"]["after"] <= 8 * swapped
    held = weights(tmp_path / "out")
    assert result["parameters"]["after"] == sum(t.numel() for t in held.values()) - swapped
    assert inspect(tmp_path / "out")["parameters"] == result["parameters"]["after"]
    return held, result


PREFIXES: dict[str, Callable[[str], str]] = {
    "compile": lambda name: f"_orig_mod.{name}",
    "ddp": lambda name: f"module.{name}",
    "peft": lambda name: f"base_model.model.{name}",
    "nested": lambda name: f"module._orig_mod.module.{name}",
    "within": lambda name: name.replace("bert.encoder.", "bert.encoder._orig_mod."),
    "fsdp": lambda name: name.replace("layer.1.", "layer.1._fsdp_wrapped_module._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("kind", PREFIXES)
def test_names_as_wrappers_leave_them(
    kind: str, folder: Path, plain: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        folder, {PREFIXES[kind](name): tensor for name, tensor in weights(folder).items()} | {"step": torch.tensor(3)}
    )
    held, _ = converted(folder, tmp_path)
    assert held.pop("step") == 3
    assert same(held, plain)
    assert "as a wrapper of training leaves it: read without" in caplog.text


def test_with_and_without_the_base_model_s_name(folder: Path, plain: dict[str, Tensor], tmp_path: Path) -> None:
    tensors = weights(folder)
    write(folder, {name.removeprefix("bert."): tensor for name, tensor in tensors.items()})
    assert same(converted(folder, tmp_path)[0], plain)
    write(folder, tensors)
    configure(folder, architectures=["BertModel"])
    held, _ = converted(folder, tmp_path, overwrite=True)
    assert torch.equal(held["cls.predictions.bias"], tensors["cls.predictions.bias"])  # for the heads of others
    assert torch.equal(load(tmp_path / "out").embeddings.word_embeddings.weight, tensors[EMBEDDINGS])


def test_a_trained_model_keeps_no_trace_of_the_wrapper(tmp_path: Path) -> None:
    """Checkpoints of a training are written by transformers, under the names that it loaded."""
    dense = save_model(tmp_path / "dense", "bert", "BertForSequenceClassification")
    names = weights(dense).keys()
    write(dense, {f"_orig_mod.{name}": tensor for name, tensor in weights(dense).items()})
    data = write_csv(tmp_path / "data.csv", rows(8, 1))
    options: dict[str, Any] = {"train": data, "validation": data, "max_steps": 2, "batch_size": 8, "save_steps": 1}
    finetune(str(dense), tmp_path / "out", **options)
    assert weights(tmp_path / "out").keys() == names


# --- files


def _stale_index(folder: Path) -> None:
    write_index(folder, {EMBEDDINGS: "model-00001-of-00002.safetensors"})


def _stray_shard(folder: Path) -> None:
    save_file({"x": torch.ones(3)}, folder / "model-00003-of-00002.safetensors")


def _variant_beside(folder: Path) -> None:
    save_file({n: t.half() for n, t in weights(folder).items()}, folder / "model.fp16.safetensors")


@pytest.mark.parametrize(
    ("add", "said"),
    [(_stale_index, "index.json"), (_stray_shard, "model-00003-of-00002"), (_variant_beside, "model.fp16.safetensors")],
)
def test_files_that_transformers_does_not_read(
    add: Change, said: str, folder: Path, plain: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(folder)
    assert same(converted(folder, tmp_path)[0], plain)
    assert said in caplog.text
    assert "which transformers does not read beside model.safetensors" in caplog.text


def test_shards_under_any_name_and_a_file_that_config_names(
    folder: Path, plain: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = weights(folder)
    (folder / "model.safetensors").unlink()
    where = {n: ("first.safetensors", "second.safetensors")[i % 2] for i, n in enumerate(sorted(tensors))}
    for file in set(where.values()):
        save_file({n: tensors[n] for n in where if where[n] == file}, folder / file)
    write_index(folder, where)
    assert same(converted(folder, tmp_path)[0], plain)
    for file in (*set(where.values()), "model.safetensors.index.json"):
        (folder / file).unlink()
    save_file(tensors, folder / "own.safetensors")
    configure(folder, transformers_weights="own.safetensors")
    assert same(converted(folder, tmp_path, overwrite=True)[0], plain)
    assert "transformers_weights" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert "Left out" not in caplog.text


@pytest.mark.parametrize("metadata", [None, {"format": "np"}])
def test_metadata_of_tensors_that_say_nothing(
    metadata: dict[str, str] | None, folder: Path, plain: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file({n: t.clone() for n, t in weights(folder).items()}, folder / "model.safetensors", metadata)
    assert same(converted(folder, tmp_path)[0], plain)


# --- what is refused


def _adapter(folder: Path) -> None:
    about = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "someone/bert"}
    (folder / "adapter_config.json").write_text(json.dumps(about))


def _adapter_alone(folder: Path) -> None:
    _adapter(folder)
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink()
    save_file({"base_model.model.x.lora_A.weight": torch.ones(4, 3)}, folder / "adapter_model.safetensors")


def _prompts(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "b"}')


def _unmerged(folder: Path) -> None:
    own = {f"base_model.model.{name}": tensor for name, tensor in weights(folder).items()}
    write(folder, own | {f"base_model.model.{QUERY}.lora_A.default.weight": torch.ones(4, 32)})


def _foreign_prefix(folder: Path) -> None:
    write(folder, {f"student.{name}": tensor for name, tensor in weights(folder).items()})


def _two_spellings(folder: Path) -> None:
    tensors = weights(folder)
    write(folder, tensors | {f"_orig_mod.{EMBEDDINGS}": tensors[EMBEDDINGS] + 1})


def _renamed(to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / to)

    return change


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}" * 50)


def _index(file: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "there.safetensors")
        write_index(folder, {EMBEDDINGS: file}, **values)

    return change


def _dtype(dtype: torch.dtype) -> Change:
    def change(folder: Path) -> None:
        tensors = weights(folder)
        write(folder, tensors | {f"{QUERY}.weight": tensors[f"{QUERY}.weight"].to(dtype)})

    return change


def _scaled(by: float, **values: Any) -> Change:
    def change(folder: Path) -> None:
        tensors = weights(folder)
        write(folder, tensors | {f"{QUERY}.weight": tensors[f"{QUERY}.weight"] * by})
        configure(folder, **values)

    return change


def _configured(**values: Any) -> Change:
    return lambda folder: configure(folder, **values)


REFUSED: dict[str, tuple[Change, str]] = {
    "adapter": (
        _adapter_alone,
        r"is an adapter \(LORA for someone/bert\): merge it first, with peft\.AutoPeftModelFor",
    ),
    "adapter-beside": (_adapter, "has an adapter beside its weights"),
    "prompts": (_prompts, r"which no weights can take up: give the model it was made for, b\."),
    "unmerged": (_unmerged, r"has adapters in its weights, such as \S+lora_A\S+: merge them first"),
    "prefix": (_foreign_prefix, r"weights named student\.bert\.encoder\S+, where BertForMaskedLM has bert\.encoder"),
    "twice": (_two_spellings, r"twice, with and without '_orig_mod\.'"),
    "variant": (_renamed("model.fp16.safetensors"), "as the variant 'fp16' only"),
    "pickle": (_renamed("pytorch_model.bin"), r"only pickled weights \(pytorch_model\.bin\)"),
    "tensorflow": (_renamed("tf_model.h5"), r"another format only \(tf_model\.h5\)"),
    "consolidated": (_renamed("consolidated.safetensors"), r"consolidated\.safetensors but no model\.safetensors"),
    "of-trainer": (_renamed("training_args.bin"), r"model\.safetensors is missing"),
    "pointer": (_pointer, "pointer of Git LFS"),
    "header": (_huge_header, "damaged or cut short"),
    "shards-gone": (_index("model-00001-of-00002.safetensors"), r"model-00001-of-00002\.safetensors is missing"),
    "shards-outside": (_index("../other.safetensors"), "outside of its directory"),
    "index-bare": (_index("there.safetensors", metadata=None), 'has no "metadata"'),
    "int8": (_dtype(torch.int8), f"{QUERY}.weight as I8, quantized in a way that config.json does not tell"),
    "uint8": (_dtype(torch.uint8), "as U8, quantized"),
    "float8": (_dtype(torch.float8_e4m3fn), "as F8_E4M3, quantized"),
    "infinite": (_scaled(float("inf")), f"NaN or infinite values in {QUERY}.weight"),
    "too-large": (_scaled(1e8, dtype="float16"), f"values in {QUERY}.weight that are too large for float16, in which"),
    "vocabulary": (_configured(vocab_size=120), "embeddings.weight of shape 99 x 32 in its weights, and 120 x 32 by"),
    "width": (_configured(intermediate_size=48), "of shape 64 in its weights, and 48 by config"),
    "more-layers": (_configured(num_hidden_layers=3), r"lacks 16 weights .* such as bert\.encoder\.layer\.2\."),
    "fewer-layers": (_configured(num_hidden_layers=1), r"more blocks than config.* such as bert\.encoder\.layer\.1\."),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_a_sentence(kind: str, folder: Path) -> None:
    change, said = REFUSED[kind]
    change(folder)
    with pytest.raises(FactcliError, match=said):
        convert(str(folder), folder.parent / "out", keep=0.5)
    assert [p.name for p in folder.parent.iterdir()] == ["bert"]


# --- what belongs to no layer, and what is tied


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_tensors_of_no_layer_stay_byte_for_byte(
    dtype: str | None, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {
        "odd.int8": torch.arange(8, dtype=torch.int8), "odd.bool": torch.tensor([True, False]),
        "odd.float8": torch.arange(8).to(torch.float8_e4m3fn), "odd.complex": torch.tensor([1 + 2j, 3.5]),
        "odd.empty": torch.zeros(0), "odd.flat": torch.zeros(0, 4, dtype=torch.int64),
        "odd.scalar": torch.tensor(0.1), "odd.double": torch.tensor([0.1], dtype=torch.float64),
        "odd.nan": torch.tensor([float("nan"), float("inf")]), "odd.uint16": torch.ones(3, dtype=torch.uint16),
    }  # fmt: skip
    write(folder, weights(folder) | odd)
    held, _ = converted(folder, tmp_path, dtype=dtype)
    for name, tensor in odd.items():
        assert (held[name].dtype, held[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(held[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    assert "has tensors that BertForMaskedLM does not use, odd.bool and 9 more: kept as they are" in caplog.text


def test_what_a_class_ignores_is_kept_and_what_it_computes_is_not(tmp_path: Path) -> None:
    """RoBERTa's masked-LM head ignores a pooler, which a classification head may want."""
    tiny.make("roberta", "RobertaForMaskedLM").save_pretrained(tmp_path / "dense")
    pooler, ids = torch.rand(32, 32), torch.arange(64)[None]
    added = {"roberta.pooler.dense.weight": pooler, "roberta.embeddings.position_ids": ids}
    write(tmp_path / "dense", weights(tmp_path / "dense") | added)
    held, _ = converted(tmp_path / "dense", tmp_path)
    assert torch.equal(held["roberta.pooler.dense.weight"], pooler)
    assert "roberta.embeddings.position_ids" not in held


def test_names_of_the_first_checkpoints(folder: Path, plain: dict[str, Tensor], tmp_path: Path) -> None:
    parts = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, tensor in weights(folder).items():
        part = next((p for p in parts if name.endswith(p)), None)
        old[name if part is None else name.removesuffix(part) + parts[part]] = tensor
    write(folder, old)
    assert same(converted(folder, tmp_path)[0], plain)
    configure(folder, architectures=["BertModel"])
    held, _ = converted(folder, tmp_path, overwrite=True)
    head = "cls.predictions.transform.LayerNorm.gamma"
    assert torch.equal(held[head], old[head])


def test_heads_that_are_tied_and_two(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = torch.rand(99, 32)
    write(folder, weights(folder) | {DECODER: other})
    expected = transformers.BertForMaskedLM.from_pretrained(folder)
    held, _ = converted(folder, tmp_path)
    assert torch.equal(held[DECODER], other)
    assert torch.equal(load(tmp_path / "out").cls.predictions.decoder.weight, expected.cls.predictions.decoder.weight)
    assert "ties its head to its embeddings in config.json" in caplog.text


def test_heads_that_are_tied_and_written_twice_or_under_the_other_name(
    folder: Path, plain: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors = weights(folder)
    write(folder, tensors | {DECODER: tensors[EMBEDDINGS]})
    held, result = converted(folder, tmp_path)
    assert same(held, plain)
    assert result["parameters"]["before"] == sum(t.numel() for t in tensors.values()) + 99 * 32
    write(folder, {DECODER if name == EMBEDDINGS else name: tensor for name, tensor in tensors.items()})
    assert same(converted(folder, tmp_path, overwrite=True)[0], plain)


def test_a_head_that_is_not_tied_and_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny.make("llama", "LlamaForCausalLM").save_pretrained(tmp_path / "dense")
    write(tmp_path / "dense", {n: t for n, t in weights(tmp_path / "dense").items() if n != "lm_head.weight"})
    held, _ = converted(tmp_path / "dense", tmp_path)
    assert "lm_head.weight" not in held
    assert "has no weights for lm_head.weight: what is written has none either" in caplog.text


HEADS = {
    "gpt2": "LMHeadModel", "llama": "ForCausalLM", "t5": "ForConditionalGeneration",
    "bart": "ForConditionalGeneration", "electra": "ForPreTraining",
}  # fmt: skip


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_sizes_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    """Of a model with a head, tied or not, in a precision that some modules do not take; without the weights too."""
    head = tiny.CONFIGS[kind][0].removesuffix("Config") + HEADS.get(kind, "ForMaskedLM")
    tiny.make(kind, head).save_pretrained(tmp_path / "dense")
    _, result = converted(tmp_path / "dense", tmp_path, dtype="float16")
    (tmp_path / "dense" / "model.safetensors").unlink()
    bare = convert(str(tmp_path / "dense"), keep=0.5, dry_run=True, dtype="float16")
    assert {k: bare[k] for k in ("parameters", "bytes")} == {k: result[k] for k in ("parameters", "bytes")}


# --- zeros


@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
def test_matrices_of_zeros(every: bool, tmp_path: Path) -> None:
    """Every criterion, structure and allocation: what is zero stays zero, and nothing is divided by it."""
    dense = save_model(tmp_path / "dense", "bert", "BertForSequenceClassification", num_hidden_layers=1)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    zero = [n for n, t in weights(dense).items() if n == name or (every and ".layer." in n and t.dim() == 2)]
    write(dense, {n: torch.zeros_like(t) if n in zero else t for n, t in weights(dense).items()})
    data = write_csv(tmp_path / "texts.csv", rows(16, 3))
    for number, criterion in enumerate(criteria):
        reads = {"calibration": str(data), "calibration_samples": 16} if criteria[criterion].needs else {}
        for allocation in ("uniform", "global"):
            method = list(structures)[(number + (allocation == "global")) % 3]
            out = tmp_path / f"{criterion}-{allocation}"
            blocks = tiny.blocks(method)
            options: dict[str, Any] = {"method": method, "criterion": criterion, "allocation": allocation}
            result = convert(str(dense), out, keep=0.5, **blocks, **options, **reads)
            assert result["error"] == 0 if every else result["error"] > 0
            held = weights(out)
            assert all(bool(torch.isfinite(t).all()) for t in held.values())
            part = [t for n, t in held.items() if n.startswith(name.removesuffix("weight") + "factor") and t.dim() > 1]
            assert not part or min(float(t.abs().max()) for t in part) == 0


# --- on the Hub, and in Python


def test_what_the_hub_has_instead_of_weights(hub: HubServer, owner: HubClient, saved: Path, tmp_path: Path) -> None:
    """Files that are not fetched are asked for by name; shards may have any."""
    for name, change, said in (
        ("pickled", _renamed("pytorch_model.bin"), "only pickled weights (pytorch_model.bin)"),
        ("variant", _renamed("model.fp16.safetensors"), "as the variant 'fp16' only"),
        ("lora", _adapter_alone, "is an adapter"),
    ):
        folder = Path(shutil.copytree(saved, tmp_path / name))
        change(folder)
        hub.add_repo(f"someone/{name}", folder)
        assert said in str(owner.refusal("convert", f"someone/{name}", tmp_path / "out", keep=0.5))
    assert "is an adapter" in str(owner.refusal("convert", "someone/lora", None, keep=0.5, dry_run=True))
    folder = Path(shutil.copytree(saved, tmp_path / "shards"))
    tensors = weights(folder)
    (folder / "model.safetensors").rename(folder / "part-a.safetensors")
    write_index(folder, dict.fromkeys(tensors, "part-a.safetensors"))
    hub.add_repo("someone/shards", folder)
    result = owner.call("convert", "someone/shards", tmp_path / "out", keep=0.5)
    assert result["parameters"]["before"] == sum(t.numel() for t in tensors.values())


def test_load_takes_what_its_sentence_advises(saved: Path, tmp_path: Path) -> None:
    convert(str(saved), tmp_path / "out", keep=0.5)
    with (tmp_path / "out" / "modeling_factorized.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(FactcliError, match="trust_remote_code=True"):
        load(tmp_path / "out")
    assert load(tmp_path / "out", trust_remote_code=True).config.model_type == "factorized_bert"


def test_inspect_names_the_model(saved: Path, tmp_path: Path) -> None:
    convert(str(saved), tmp_path / "out", keep=0.5)
    assert inspect(tmp_path / "out")["model"] == str(tmp_path / "out")
