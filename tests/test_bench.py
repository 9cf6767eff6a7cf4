"""bench: what its numbers mean, never how large a time is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

import factcli
from factcli.cli.costs import measured
from factcli.errors import FactcliError
from factcli.measuring.cell import say_ranks
from factcli.measuring.counting import count_flops, peak_memory
from factcli.measuring.inputs import make_inputs
from factcli.measuring.ratios import judge
from factcli.models.fit import positions
from factcli.models.model import find_model
from factcli.models.precision import SLOW, times_as_long

from . import tiny
from .conftest import Run

WIDTH, INNER, LAYERS, LENGTH = 32, 64, 2, 16  # of tiny's BERT, and of the inputs
STRUCTURES = {"low-rank": (4, 1), "block-low-rank": (1, 4), "monarch": (1, 4)}  # rank, blocks
COMMON: dict[str, Any] = {"sequence_length": LENGTH, "runs": 2, "device": "cpu"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories: dense, and one for each structure."""
    folder = tmp_path_factory.mktemp("bench")
    tiny.make("bert").save_pretrained(folder / "dense")
    for name, (rank, blocks) in STRUCTURES.items():
        factcli.convert(str(folder / "dense"), folder / name, method=name, rank=rank, **tiny.blocks(name, blocks))
    return folder


@pytest.fixture(scope="module")
def result(made: Path) -> dict[str, Any]:
    """All structures beside the dense model, at two batch sizes."""
    return factcli.bench(
        [str(made / name) for name in STRUCTURES], baseline=str(made / "dense"), batch_size=(1, 3), **COMMON
    )


def by_hand(batch: int, rank: int | None = None, blocks: int = 1) -> int:
    """FLOPs of the tiny BERT: the matrices of its layers, attention's two products, and the dense pooler."""
    tokens = batch * LENGTH
    shapes = [(WIDTH, WIDTH)] * 4 + [(INNER, WIDTH), (WIDTH, INNER)]
    sizes = sum(m * n if rank is None else blocks * rank * (m + n) for m, n in shapes)
    attention = 2 * 2 * batch * LENGTH * LENGTH * WIDTH  # Q K^T and the weights times V, over all heads
    return LAYERS * (2 * tokens * sizes + attention) + 2 * batch * WIDTH * WIDTH


def entries(result: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [r for r in result["results"] if Path(r["model"]).name == name]


def test_flops_equal_a_hand_count(result: dict[str, Any]) -> None:
    for name, (rank, blocks) in {"dense": (None, 1), **STRUCTURES}.items():
        assert [r["flops"] for r in entries(result, name)] == [by_hand(b, rank, blocks) for b in (1, 3)]
    for r in result["ratios"]:
        rank, blocks = STRUCTURES[Path(r["model"]).name]
        expected = by_hand(r["batch_size"]) / by_hand(r["batch_size"], rank, blocks)
        assert r["flops_ratio"] == pytest.approx(expected)


def test_parameters_and_bytes_are_those_of_the_files(result: dict[str, Any], made: Path) -> None:
    dense = entries(result, "dense")[0]
    for r in result["results"]:
        file = made / Path(r["model"]).name / "model.safetensors"
        marks = 0 if r["baseline"] else 6 * LAYERS  # elements without a part in the product
        assert r["parameters"] == sum(t.numel() for t in load_file(file).values()) - marks
        assert r["bytes"] == file.stat().st_size
        assert r["peak_memory_bytes"] > 4 * r["parameters"]
        assert r["dtype"] == "float32"
    for ratio in result["ratios"]:
        model = entries(result, Path(ratio["model"]).name)[0]
        assert ratio["parameters_ratio"] == dense["parameters"] / model["parameters"]
        assert ratio["bytes_ratio"] == dense["bytes"] / model["bytes"]


def test_figures_follow_from_raw_samples(result: dict[str, Any]) -> None:
    assert len(result["results"]) == 8
    assert len(result["ratios"]) == 6
    for r in result["results"]:
        assert len(r["samples_ms"]) == 2  # as many rounds as asked
        every = sorted(t for turn in r["samples_ms"] for t in turn)
        at = {p: p / 100 * (len(every) - 1) for p in (10, 50, 90)}  # linear interpolation between the ranks
        for key, p in (("p10", 10), ("median", 50), ("p90", 90)):
            low, part = int(at[p]), at[p] % 1
            value = every[low] + part * (every[min(low + 1, len(every) - 1)] - every[low])
            assert r["latency_ms"][key] == pytest.approx(value)
        assert r["latency_ms"]["mean"] == pytest.approx(sum(every) / len(every))
        tokens = r["batch_size"] * LENGTH
        assert r["tokens_per_second"] == pytest.approx(tokens / (r["latency_ms"]["median"] / 1000))
    for ratio in result["ratios"]:
        base, model = (
            next(r["samples_ms"] for r in result["results"]
                 if r["model"] == ratio[key] and r["batch_size"] == ratio["batch_size"])
            for key in ("baseline", "model")
        )  # fmt: skip
        rounds = [np.median(b) / np.median(m) for b, m in zip(base, model, strict=True)]
        assert ratio["speedup"] == pytest.approx(np.median(rounds))
        assert ratio["speedup_p10"] <= ratio["speedup"] <= ratio["speedup_p90"]
        assert ratio["faster"] == (ratio["speedup"] >= 1.05 and ratio["speedup_p10"] > 1)
        assert (ratio["why"] is None) == ratio["faster"]


def test_a_baseline_against_itself(made: Path) -> None:
    dense = str(made / "dense")
    result = factcli.bench(dense, baseline=dense, sequence_length=LENGTH, runs=15, device="cpu")
    assert [r["baseline"] for r in result["results"]] == [True, False]
    (ratio,) = result["ratios"]
    assert 0.5 < ratio["speedup"] < 2
    assert [ratio[k] for k in ("flops_ratio", "memory_ratio", "bytes_ratio", "parameters_ratio")] == [1, 1, 1, 1]
    if not ratio["faster"]:
        assert "break-even" in ratio["why"]


def test_without_a_baseline_no_ratios(made: Path) -> None:
    result = factcli.bench(str(made / "dense"), **COMMON | {"runs": None, "seconds": 0.01})
    assert result["ratios"] == []
    (entry,) = result["results"]
    assert not entry["baseline"]
    assert len(entry["samples_ms"]) == 5  # however short the time


class Calls:
    """Records which model runs, by its class, in a forward hook on all modules."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __enter__(self) -> list[str]:
        self.hook = nn.modules.module.register_module_forward_hook(self.record)
        return self.names

    def record(self, module: nn.Module, args: object, output: object) -> None:
        if isinstance(module, PreTrainedModel):
            self.names.append("factorized" if type(module).__name__.startswith("Factorized") else "dense")

    def __exit__(self, *error: object) -> None:
        self.hook.remove()


def test_models_are_measured_in_turns(made: Path) -> None:
    with Calls() as calls:
        result = factcli.bench(str(made / "monarch"), baseline=str(made / "dense"), **COMMON | {"runs": 4})
    k = len(result["results"][0]["samples_ms"][0])
    assert k >= 1
    dense, small = ["dense"] * k, ["factorized"] * k
    expected = [*dense, *small, *small, *dense, *dense, *small, *small, *dense]
    assert calls[-len(expected) :] == expected
    for r in result["results"]:
        assert [len(turn) for turn in r["samples_ms"]] == [k] * 4
    before = calls[: -len(expected)]  # FLOPs, a first pass, memory, and at least one to warm up; none is a sample
    assert min(before.count("dense"), before.count("factorized")) >= 4


def test_the_paper_s_protocol(tmp_path: Path) -> None:
    tiny.make("bert", num_hidden_layers=1).save_pretrained(tmp_path / "dense")
    factcli.convert(str(tmp_path / "dense"), tmp_path / "small", rank=4)
    with Calls() as calls:
        result = factcli.bench(
            str(tmp_path / "small"), baseline=str(tmp_path / "dense"), protocol="paper", sequence_length=4, device="cpu"
        )
    timed = 2 * 8 * 100
    assert calls[-timed:].count("dense") == 800
    assert len(calls) - timed <= 2 * 13  # warming up
    for r in result["results"]:
        assert np.array(r["samples_ms"]).shape == (6, 100)
        assert r["latency_ms"]["mean"] == pytest.approx(np.mean(r["samples_ms"]))
        assert r["tokens_per_second"] == pytest.approx(4000 / r["latency_ms"]["mean"])
    base, small = (r["latency_ms"]["mean"] for r in result["results"])
    assert result["ratios"][0]["speedup"] == pytest.approx(base / small)


def test_the_paper_s_examples_differ_and_come_again() -> None:
    model = tiny.make("bert", num_hidden_layers=1)
    first, second = (make_inputs(model, "m", 1, LENGTH, 100, CPU) for _ in range(2))
    assert len({tuple(x["input_ids"][0].tolist()) for x in first}) == 100
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(first, second, strict=True))
    assert all(bool(x["attention_mask"].all()) for x in first)


@pytest.mark.parametrize(
    ("kind", "head"),
    [("t5", "T5ForConditionalGeneration"), ("bart", "BartForSequenceClassification"), ("roberta", None),
     ("gpt2", "GPT2ForSequenceClassification"), ("llama", "LlamaForCausalLM"), ("deberta-v2", None)],
)  # fmt: skip
def test_inputs_fit_every_kind_of_model(kind: str, head: str | None) -> None:
    model = tiny.make(kind, head, **({"pad_token_id": None} if kind == "gpt2" else {}))
    (inputs,) = make_inputs(model, kind, 2, LENGTH, 1, CPU)
    assert ("decoder_input_ids" in inputs) == (kind in ("t5", "bart"))
    assert inputs["input_ids"].shape == (2, LENGTH)
    assert count_flops(model, inputs) > 0
    assert positions(model) == (None if kind == "t5" else 62 if kind == "roberta" else 64)


def test_peak_memory_is_what_lives_at_once() -> None:
    """Of a chain, the widest two neighbours; the first product is released by then."""
    chain = nn.Sequential(nn.Linear(8, 300), nn.Linear(300, 200), nn.Linear(200, 500))
    x = torch.randn(10, 8)

    def run(inputs: dict[str, Any]) -> object:
        return chain(inputs["x"])

    with torch.inference_mode():
        peak = peak_memory(chain, run, {"x": x}, CPU)
    parameters = sum(p.numel() for p in chain.parameters())
    assert peak == 4 * (parameters + x.numel() + 10 * (200 + 500))


def ratio(tokens: int, speedup: float, flops: float, p10: float | None = None) -> dict[str, Any]:
    return {
        "model": "m", "variant": "eager", "batch_size": tokens, "sequence_length": 1, "speedup": speedup,
        "speedup_p10": speedup if p10 is None else p10, "flops_ratio": flops,
    }  # fmt: skip


def test_why_a_model_is_not_faster() -> None:
    for given, expected in (
        ([ratio(1, 2.0, 3.0)], [None]),
        ([ratio(1, 1.0, 1.05)], ["rank near break-even"]),
        (
            [ratio(1, 1.02, 2.0), ratio(8, 1.8, 2.0)],
            ["promises 2.00 times, and at 8 x 1 tokens it is 1.80", None],
        ),
        ([ratio(1, 0.6, 1.3)], ["batch too small, or products too thin"]),
        ([ratio(1, 0.6, 1.3), ratio(8, 1.0, 1.3)], ["with more tokens too", "a larger --batch-size tells"]),
        ([ratio(1, 1.3, 1.3), ratio(8, 0.9, 1.3)], [None, "the batch is not too small"]),
        ([ratio(1, 1.2, 2.0, p10=0.9)], ["within the noise"]),
    ):
        judge(given)
        for r, text in zip(given, expected, strict=True):
            assert r["faster"] == (text is None)
            assert r["why"] is None if text is None else text in r["why"]


def test_dtype_threads_and_variant(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_num_threads()
    result = factcli.bench(str(made / "low-rank"), dtype="bf16", threads=2, **COMMON | {"runs": 1})
    assert torch.get_num_threads() == before
    assert (result["dtype"], result["threads"], result["compile_mode"]) == ("bfloat16", 2, None)
    assert (result["results"][0]["dtype"], result["results"][0]["variant"]) == ("bfloat16", "eager")
    slow = times_as_long("bfloat16", "float32") > SLOW
    assert [m.endswith("as float32: leave --dtype out.") for m in caplog.messages].count(True) == slow
    caplog.clear()
    factcli.bench(str(made / "low-rank"), precision=("float32", "bfloat16"), **COMMON | {"runs": 1})
    assert [m.endswith("as float32: leave --precision out.") for m in caplog.messages].count(True) == slow


def test_compiled(tmp_path: Path) -> None:
    tiny.make("bert", num_hidden_layers=1).save_pretrained(tmp_path / "dense")
    result = factcli.bench(str(tmp_path / "dense"), variant=["eager", "compile"], **COMMON)
    assert result["compile_mode"] == "default"
    eager, compiled = result["results"]
    assert (eager["variant"], compiled["variant"]) == ("eager", "compile")
    assert compiled["flops"] == eager["flops"]
    assert compiled["samples_ms"] != eager["samples_ms"]


def test_plot(made: Path, tmp_path: Path) -> None:
    for name, accuracy in (("dense", 0.9), ("monarch", 0.8)):
        shutil.copytree(made / name, tmp_path / name)
        entry = {"task": "sst2", "split": "validation", "metrics": {"accuracy": accuracy, "f1": 0.5}}
        (tmp_path / name / "eval_results.json").write_text(json.dumps([entry]))
    models = [str(tmp_path / "monarch"), str(made / "low-rank")]
    result = factcli.bench(models, baseline=str(tmp_path / "dense"), plot=tmp_path / "pareto.png", **COMMON)
    assert [r["accuracy"] for r in result["results"]] == [{"sst2 validation": 0.9}, {"sst2 validation": 0.8}, {}]
    (note,) = result["notes"]
    assert note.startswith(str(made / "low-rank"))
    png = (tmp_path / "pareto.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 5000
    root = ElementTree.parse(tmp_path / "pareto.svg").getroot()
    assert root.tag.endswith("svg")
    assert sum(len(e.attrib.get("d", "")) for e in root.iter()) > 5000  # paths that draw something


def test_bad_input(made: Path, tmp_path: Path) -> None:
    dense, common = str(made / "dense"), COMMON | {"batch_size": 1}
    (tmp_path / "broken").mkdir()
    shutil.copy(made / "dense" / "config.json", tmp_path / "broken")
    for models, options, code, message in (
        (dense, {"batch_size": 0}, 2, "at least 1"),
        (dense, {"sequence_length": []}, 2, "at least 1"),
        (dense, {"batch_size": [1, 1]}, 2, "something twice"),
        (dense, {"variant": "fast"}, 2, "take eager, compile, cuda-graphs"),
        (dense, {"variant": "cuda-graphs"}, 1, "needs a CUDA GPU"),
        (dense, {"protocol": "papers"}, 2, "take rounds or paper"),
        (dense, {"protocol": "paper"}, 2, "leave out"),  # --runs is given
        (dense, {"seconds": 1.0}, 2, "either --seconds or --runs"),
        (dense, {"runs": 0}, 2, "at least 1"),
        (dense, {"dtype": "int8"}, 2, "take float32, float16, bfloat16"),
        (dense, {"threads": 0}, 2, "--threads 0 is below 1"),
        (dense, {"sequence_length": 65}, 1, "has 64 positions"),
        (dense, {"baseline": str(tmp_path / "none")}, 1, "is not a directory"),
        (dense, {"baseline": str(tmp_path / "broken")}, 1, "has no weights"),
        ([dense, dense], {}, 2, "given twice"),
        ([], {}, 2, "at least one model"),
        (dense, {"plot": tmp_path / "pareto.jpg"}, 2, "must end in .png, .svg"),
        (dense, {"plot": tmp_path / "none" / "pareto.png"}, 1, "is not a directory"),
    ):  # fmt: skip
        with pytest.raises(factcli.FactcliError) as caught:
            factcli.bench(models, **{**common, **options})
        assert message in str(caught.value)
        assert caught.value.exit_code == code
        assert "\n" not in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(factcli.FactcliError, match="take --device cpu"):
            factcli.bench(dense, device="cuda")


def test_a_model_that_cannot_be_run(tmp_path: Path) -> None:
    tiny.make("bert", "BertForMultipleChoice").save_pretrained(tmp_path / "choices")
    with pytest.raises(factcli.FactcliError, match=r"BertForMultipleChoice, eager\) fails on 1 x 16 tokens"):
        factcli.bench(str(tmp_path / "choices"), **COMMON)


def test_the_command(factcli: Run, made: Path, result: dict[str, Any], tmp_path: Path) -> None:
    done = factcli(
        "bench", made / "low-rank", made / "monarch", "--baseline", made / "dense", "--batch-size", "1,2",
        "--sequence-length", "16", "--runs", "2", "--device", "cpu", "--json", "--plot", tmp_path / "p.svg",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stderr.splitlines()] == ["there."] * 3  # notes, and nothing else
    printed = json.loads(done.stdout)
    assert printed.keys() == result.keys()
    assert printed["results"][0].keys() == result["results"][0].keys()
    assert printed["ratios"][0].keys() == result["ratios"][0].keys()
    assert [r["batch_size"] for r in printed["ratios"]] == [1, 1, 2, 2]
    assert (tmp_path / "p.png").is_file()
    assert (tmp_path / "p.svg").is_file()


def test_the_table(result: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # each row in one line
    measured(result)
    lines = capsys.readouterr().out.splitlines()
    said = " ".join(lines)
    assert f"torch {torch.__version__}, models in turns, 2 rounds" in said
    assert "1 thread," in said
    assert sum("(baseline)" in line for line in lines) == 2
    for r in result["ratios"]:
        ours = [line for line in lines if line.startswith(r["model"]) and f"{r['speedup']:.2f}" in line]
        verdict = "  faster" if r["faster"] else "not faster"
        assert any(verdict in line for line in ours)
        if not r["faster"]:
            size = f"{r['batch_size']} x {LENGTH} tokens, eager"
            assert f"{r['model']} is not faster at {size}: {r['why']}." in lines


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "dense is no directory with a README.md: leave out --update-card."),
        ({"precision": "float32"}, "--update-card is for .* as torch runs them: leave out --backend and --precision."),
    ],
)
def test_a_card_that_cannot_be_updated_is_said_before_any_pass(options: dict[str, Any], said: str, made: Path) -> None:
    with pytest.raises(FactcliError, match=said):
        factcli.bench(str(made / "dense"), update_card=True, **options, **COMMON)
    assert not (made / "dense" / "README.md").exists()


def test_usage_without_torch(world: dict[str, str], factcli: Run) -> None:
    code = (
        "import sys\nfrom factcli.cli import main\nsys.argv = ['factcli', 'bench', '--help']\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=world, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bad = factcli("bench", "x", "--batch-size", "many")
    assert bad.returncode == 2
    assert bad.stderr == "Error: --batch-size 'many' is not a list of whole numbers such as 1,8,32.\n"


@pytest.mark.parametrize(
    ("device", "dtype", "said"), [("cuda", "bfloat16", 12), ("cuda", "float32", 0), ("cpu", "float16", 0)]
)
def test_ranks_that_a_gpu_is_slow_with_are_said(
    device: str, dtype: str, said: int, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say_ranks(find_model(str(made / "low-rank"), accept_factorized=True), getattr(torch, dtype), torch.device(device))
    text = f"{said} of 12 ranks are no multiple of 8"
    assert (text in caplog.text and "--rank-multiple 8" in caplog.text) if said else not caplog.text
