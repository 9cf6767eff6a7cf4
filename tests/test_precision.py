"""Every architecture in every precision: saved as asked, as transformers loads it, and measured as saved."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from factcli import convert, evaluate, finetune, load
from factcli.errors import CheckFailed
from factcli.models.check import sample_inputs
from factcli.models.cpus import instructions
from factcli.models.export import with_dtype
from factcli.models.precision import SLOW, cast, say_if_slow, stored_dtypes, times_as_long

from . import tiny
from .training_helpers import WORDS, rows, save_model, save_tokenizer, weights, write_csv

# source -> what --dtype asks for: each precision is read once as it is, and once written from another
CONVERSIONS = [
    ("float16", None), ("bfloat16", None), ("float64", None), ("float32", "float16"), ("float64", "bfloat16"),
    ("bfloat16", "float32"), ("float16", "bf16"),
]  # fmt: skip
KEPT_IN_FLOAT32 = {("t5", "float16"): ".wo."}  # of the architectures here; of transformers 5.24


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base models with tokenizers in float64, of which the others are roundings."""
    return tmp_path_factory.mktemp("sources")


def source(sources: Path, kind: str, dtype: str) -> Path:
    folder = sources / f"{kind}-{dtype}"
    if not folder.exists():
        one: dict[str, Any] = {name: 1 for name in tiny.CONFIGS[kind][1] if name.endswith(("layers", "n_layer"))}
        model = tiny.make(kind, "T5ForConditionalGeneration" if kind == "t5" else None, **one)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        save_tokenizer(folder)
    return folder


def check_saved(folder: Path, kind: str, dtype: str) -> None:
    """Every tensor in its type, said in config.json, and loaded to it; what is computed is in float32."""
    part, held = KEPT_IN_FLOAT32.get((kind, dtype), " "), weights(folder)
    for name, tensor in held.items():
        assert tensor.dtype == (torch.float32 if part in name else getattr(torch, dtype)), name
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    if (folder / "modeling_factorized.py").is_file():
        model = load(folder)
    else:
        name = json.loads((folder / "config.json").read_text())["architectures"][0]
        model = getattr(transformers, name).from_pretrained(folder)
    found = {name: t.dtype for name, t in model.state_dict().items() if name in held}
    assert found == {name: t.dtype for name, t in held.items()}
    computed = [b for name, b in model.named_buffers() if name.endswith("inv_freq")]
    assert bool(computed) == (kind in ("llama", "modernbert"))
    assert all(b.dtype == torch.float32 for b in computed)


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_convert(kind: str, sources: Path, tmp_path: Path) -> None:
    """All pairs where something is kept apart; of the other architectures every second one."""
    tried = CONVERSIONS if kind in ("t5", "llama") else CONVERSIONS[list(tiny.CONFIGS).index(kind) % 2 :: 2]
    for number, (dtype, asked) in enumerate(tried):
        out = tmp_path / f"{dtype}-{asked}"
        method = ("low-rank", "monarch")[number % 2]
        result = convert(
            str(source(sources, kind, dtype)),
            out,
            method=method,
            blocks=None if method == "low-rank" else 2,
            keep=0.5,
            dtype=asked,
        )
        check_saved(out, kind, {"bf16": "bfloat16", None: dtype}.get(asked, asked))
        swapped = tuple(f"{layer['name']}.weight" for layer in result["layers"] if layer["structure"] != "dense")
        counted = [t for name, t in weights(out).items() if not name.endswith(swapped)]
        assert result["bytes"]["after"] == sum(t.nbytes for t in counted)
        assert result["bytes"]["before"] == sum(t.nbytes for t in weights(source(sources, kind, dtype)).values())


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_finetune(kind: str, sources: Path, tmp_path: Path) -> None:
    """Half-precision sources, with and without a budget, and another precision than the source's."""
    data = write_csv(tmp_path / "data.csv", rows(8, 1))
    runs: list[tuple[str, str, dict[str, Any]]] = [
        ("float16" if kind == "t5" else "bfloat16", "", {"keep": 0.5, "schedule": "direct"}),
        ("float32", "float16", {}),
    ]
    for dtype, asked, options in runs:
        out = tmp_path / f"{dtype}-{asked}"
        done = finetune(
            str(source(sources, kind, dtype)), out, train=data, validation=data, max_steps=1, batch_size=8,
            dtype=asked or None, text_to_text=kind == "t5", **options,
        )  # fmt: skip
        check_saved(out, kind, asked or dtype)
        assert evaluate(str(out), validation=data)[0]["metrics"] == done["metrics"]


def test_the_precision_is_kept_by_every_phase_and_for_what_is_factorized(tmp_path: Path) -> None:
    dense = save_model(tmp_path / "dense", "bert")
    data = write_csv(tmp_path / "data.csv", rows(8, 1))
    options: dict[str, Any] = {"train": data, "validation": data, "batch_size": 8, "max_steps": 2}
    finetune(str(dense), tmp_path / "lpaf", prune="magnitude", density=0.5, keep=0.5, dtype="bfloat16", **options)
    check_saved(tmp_path / "lpaf", "bert", "bfloat16")
    finetune(str(tmp_path / "lpaf"), tmp_path / "on", dtype="fp16", **options)
    check_saved(tmp_path / "on", "bert", "float16")
    (tmp_path / "recipe.yaml").write_text("dtype: bf16\ntraining:\n  max_steps: 1\n")
    finetune(
        str(dense), tmp_path / "by-file", config=tmp_path / "recipe.yaml", train=data, validation=data, batch_size=8
    )
    check_saved(tmp_path / "by-file", "bert", "bfloat16")


def test_the_metrics_are_those_of_the_file(tmp_path: Path) -> None:
    """A correlation has many digits: those of the model before it was rounded would be others."""
    folder = tmp_path / "data" / "stsb"
    folder.mkdir(parents=True)
    for split, count in (("train", 16), ("validation", 24)):
        texts = pa.array([" ".join(WORDS[(7 * i + j) % 90] for j in range(5)) for i in range(count)])
        labels = pa.array([float(i % 6) for i in range(count)])
        pq.write_table(
            pa.table({"sentence1": texts, "sentence2": texts, "label": labels}), folder / f"{split}.parquet"
        )  # fmt: skip
    save_model(tmp_path / "dense", "bert")
    options: dict[str, Any] = {"task": "stsb", "data_dir": tmp_path / "data", "max_steps": 2, "batch_size": 8}
    found = {}
    for dtype in ("float32", "bfloat16"):
        out = tmp_path / dtype
        done = finetune(str(tmp_path / "dense"), out, keep=0.5, schedule="direct", dtype=dtype, **options)
        again = evaluate(str(out), task="stsb", data_dir=tmp_path / "data")[0]["metrics"]
        kept = json.loads((out / "finetune_results.json").read_text())["metrics"]
        assert done["metrics"] == kept == again
        assert f"{done['metrics']['pearson']:.4f}" in (out / "README.md").read_text()
        found[dtype] = done["metrics"]["pearson"]
    assert found["float32"] != found["bfloat16"]


@pytest.mark.parametrize("asked", ["float32", "float16", "bfloat16"])
def test_factors_are_rounded_once_to_what_is_saved(asked: str, tmp_path: Path) -> None:
    """The error is that of the saved factors; wider than the source, they are as good as its values allow."""
    tiny.make("bert").bfloat16().save_pretrained(tmp_path / "dense")
    result = convert(str(tmp_path / "dense"), tmp_path / "out", rank=6, dtype=asked)
    dense, saved = weights(tmp_path / "dense"), weights(tmp_path / "out")
    lost = total = best = 0.0
    for layer in result["layers"]:
        w = dense[f"{layer['name']}.weight"].double()
        product = (
            saved[f"{layer['name']}.factor_out.weight"].double() @ saved[f"{layer['name']}.factor_in.weight"].double()
        )
        lost, total = lost + float((w - product).square().sum()), total + float(w.square().sum())
        best += float(torch.linalg.svdvals(w)[6:].square().sum())
    assert result["error"] == pytest.approx((lost / total) ** 0.5, rel=1e-9)
    near = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}[asked]
    assert (lost / total) ** 0.5 == pytest.approx((best / total) ** 0.5, rel=near)


def test_the_bias_takes_up_the_error_of_what_is_saved(tmp_path: Path) -> None:
    """b' = b + (W - W') mean(x), with W' as it is in the file."""
    from factcli.calibration.data import CalibrationOptions
    from factcli.calibration.measure import calibrate
    from factcli.calibration.statistics import Kind
    from factcli.models.loading import load_model
    from factcli.models.model import find_model

    dense = save_model(tmp_path / "dense", "bert")
    data = write_csv(tmp_path / "texts.csv", rows(24, 4))
    convert(
        str(dense), tmp_path / "out", rank=4, criterion="activation", compensation="none", calibration=str(data),
        calibration_samples=24, dtype="bfloat16",
    )  # fmt: skip
    found = find_model(str(dense))
    options = CalibrationOptions(str(data), 24)
    statistics = calibrate(found, load_model(found), options, frozenset({Kind.INPUTS})).statistics
    before, after = weights(dense), weights(tmp_path / "out")
    for name, of in statistics.items():
        assert of.mean is not None
        product = after[f"{name}.factor_out.weight"].double() @ after[f"{name}.factor_in.weight"].double()
        change = (before[f"{name}.weight"].double() - product) @ of.mean.double()
        expected = (before[f"{name}.bias"].double() + change).bfloat16()
        torch.testing.assert_close(after[f"{name}.factor_out.bias"], expected, atol=1e-6, rtol=2**-8)


def test_a_checkpoint_of_mixed_precisions_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    """All in what config.json says; without that, in the type of the first tensor."""
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    raw = json.loads((tmp_path / "dense" / "config.json").read_text())
    mixed = {k: t if "LayerNorm" in k else t.bfloat16() for k, t in weights(tmp_path / "dense").items()}
    for said in ("float32", "bfloat16", None):
        save_file(mixed, tmp_path / "dense" / "model.safetensors", {"format": "pt"})
        (tmp_path / "dense" / "config.json").write_text(json.dumps(raw | {"dtype": said}))
        native = transformers.BertModel.from_pretrained(tmp_path / "dense")
        out = tmp_path / f"out-{said}"
        result = convert(str(tmp_path / "dense"), out, keep=0.5)
        check_saved(out, "bert", str(native.dtype).removeprefix("torch."))
        assert result["bytes"]["before"] == sum(t.nbytes for t in mixed.values())
        name = "embeddings.LayerNorm.weight"
        assert torch.equal(weights(out)[name], native.state_dict()[name])


def test_config_says_the_precision_wherever_it_says_one() -> None:
    raw = {
        "model_type": "a", "torch_dtype": "float32", "text_config": {"dtype": "float32", "model_type": "b", "x": 1},
        "vision_config": {"x": 2}, "id2label": {"dtype": "kept"}, "dtype": None,
    }  # fmt: skip
    assert with_dtype(raw, "float16") == raw | {
        "torch_dtype": "float16", "dtype": "float16", "text_config": {"dtype": "float16", "model_type": "b", "x": 1},
    }  # fmt: skip
    assert with_dtype({"model_type": "a"}, "float16") == {"model_type": "a", "dtype": "float16"}


def test_cast_is_what_from_pretrained_does(tmp_path: Path) -> None:
    """Of parameters that tie, and of buffers that are computed, too."""
    for kind, head in (("t5", "T5ForConditionalGeneration"), ("llama", "LlamaForCausalLM")):
        model = tiny.make(kind, head)
        model.save_pretrained(tmp_path / kind)
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            expected = type(model).from_pretrained(tmp_path / kind, dtype=dtype)
            ours = type(model).from_pretrained(tmp_path / kind)
            cast(ours, stored_dtypes(type(model), model.config, model.state_dict(), dtype))
            for (name, a), (_, b) in zip(expected.named_buffers(), ours.named_buffers(), strict=True):
                assert a.dtype == b.dtype, name
            inputs = sample_inputs(model)
            with torch.inference_mode():
                assert torch.equal(expected(**inputs).logits, ours(**inputs).logits)
            tied = ours.get_input_embeddings().weight is ours.get_output_embeddings().weight
            assert tied == (kind == "t5")


def overflowing(folder: Path, dtype: torch.dtype) -> Path:
    """A model whose second block's outputs exceed float16."""
    model = tiny.make("bert", "BertForMaskedLM")
    with torch.no_grad():
        block = model.bert.encoder.layer[1]
        block.intermediate.dense.weight.mul_(100)
        block.output.dense.weight.mul_(100)
        block.output.LayerNorm.weight.fill_(6e4)
    model.to(dtype).save_pretrained(folder)
    return folder


def test_outputs_that_overflow_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A source that overflows itself converts, with a note; one that does not is refused what would."""
    half = overflowing(tmp_path / "half", torch.float16)
    convert(str(half), tmp_path / "out", keep=0.5)
    assert "itself gives outputs that are not finite in float16" in caplog.text
    assert "bert.encoder.layer.1.output" in caplog.text
    assert "--dtype bfloat16" in caplog.text
    full = overflowing(tmp_path / "full", torch.float32)
    with pytest.raises(CheckFailed, match=r"layer\.1\.\S+ overflows in float16: give --dtype bfloat16 or float32"):
        convert(str(full), tmp_path / "again", keep=0.5, dtype="float16")
    caplog.clear()
    convert(str(full), tmp_path / "again", keep=0.5, dtype="bfloat16", overwrite=True)
    assert "finite" not in caplog.text


def test_values_that_a_precision_cannot_hold_are_named_and_not_lost(tmp_path: Path) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    tensors = weights(tmp_path / "dense")
    tensors["pooler.dense.bias"][3] = 1e5
    save_file(tensors, tmp_path / "dense" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckFailed, match=r"pooler\.dense\.bias has values that are too large for float16"):
        convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5, dtype="float16")
    kept = [p for p in tmp_path.rglob("model.safetensors") if "dense" not in p.parts]
    assert all(load_file(p)["pooler.dense.bias"][3] == 1e5 for p in kept)


@pytest.mark.parametrize(("precision", "than"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_what_is_slower_on_this_cpu_is_said(precision: str, than: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of the two one is the slower, if either: which one is for the CPU to say. It is asked once."""
    threads, misses = torch.get_num_threads(), times_as_long.cache_info().misses
    for _ in range(2):
        say_if_slow("--precision", precision, than)
    times = times_as_long(precision, than)
    assert times_as_long.cache_info().misses <= misses + 1
    assert torch.get_num_threads() == threads
    assert times > 0
    said = f"{precision} takes this CPU {times:.1f} times as long as {than}: leave --precision out."
    assert caplog.messages == ([said] * 2 if times > SLOW else [])
    if "avx2" in instructions() and not {"avx512", "neon"} & {*instructions()}:  # which has nothing for bfloat16
        assert (times > SLOW) == (precision == "bfloat16")
