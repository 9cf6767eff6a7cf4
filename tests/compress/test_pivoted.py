"""Pivoted low-rank: the matrix that low-rank gives, in fewer parameters, through training and export."""

import copy
import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from factcli import bench, convert, finetune, inspect, load
from factcli.calibration.statistics import Kind
from factcli.compress.allocations import Request, allocations
from factcli.compress.criteria import criteria
from factcli.compress.norms import KroneckerNorm
from factcli.compress.structures.pivoted import LARGEST, interpolation
from factcli.models.targets import Target
from factcli.models.weights import read_weights
from factcli.remote_code.modeling_pivoted import PivotedLinear

from ..conftest import Run
from ..training_helpers import rows, save_model, weights, write_csv
from .made import make, nearest, project


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16)])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_low_rank_matrix_in_fewer_parameters(shape: tuple[int, int], weighted: bool) -> None:
    w, pivoted, low = random(*shape), make("pivoted"), make("low-rank")
    norm = KroneckerNorm(random(*shape[:1] * 2).square().diag().diag(), None) if weighted else KroneckerNorm()
    for rank in (1, 5, min(shape) - 1, min(shape)):
        tensors = project(w, pivoted, rank, norm)
        assert (pivoted.dense(tensors) - nearest(w, low, rank, norm)).abs().max() < 1e-10
        assert pivoted.parameters(shape, rank) == low.parameters(shape, rank) - rank**2
        assert sorted(tensors["order"].tolist()) == list(range(shape[1]))
        assert tensors["factor_in.weight"].abs().sum() == 0 or tensors["factor_in.weight"].abs().max() <= LARGEST
    assert pivoted.break_even(shape) == min(shape)
    assert torch.equal(pivoted.gains(w, norm), low.gains(w, norm))


@pytest.mark.parametrize("rank", [0, 1, 3, 8])
def test_columns_that_span_the_others(rank: int) -> None:
    """Of a matrix of 8 rows and any rank, one of columns of very different sizes too."""
    for scale in (torch.ones(20, dtype=torch.float64), torch.logspace(-6, 6, 20, dtype=torch.float64)):
        a = random(8, rank) @ random(rank, 20, seed=1) * scale
        order, mix = interpolation(a)
        assert (a[:, order[8:]] - a[:, order[:8]] @ mix).abs().max() <= 1e-9 * max(1.0, float(a.abs().max()))
        assert mix.abs().max() <= LARGEST


def test_gradients_are_those_of_the_dense_matrix() -> None:
    structure = make("pivoted")
    tensors = project(random(12, 20), structure, 5)
    entry = {"structure": "pivoted", "shape": [12, 20], "spec": {"rank": 5}, "bias": True}
    layer = structure.module(entry, tensors, random(1, 12)[0], torch.float64, torch.device("cpu"))
    x = random(2, 3, 20).transpose(0, 1).requires_grad_()
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad(layer(x).sin().sum(), inputs)
    held = {**dict(layer.named_parameters()), "order": layer.order}
    y = nn.functional.linear(x, structure.dense(held), layer.factor_out.bias)
    for one, other in zip(found, torch.autograd.grad(y.sin().sum(), inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_it_runs_compiled_exported_and_in_half_precision() -> None:
    layer, x = PivotedLinear(12, 8, 3, True), torch.randn(2, 5, 12)
    layer.order.copy_(torch.randperm(12))
    expected = layer(x)
    assert torch.equal(torch.jit.trace(layer, x)(x), expected)  # type: ignore[no-untyped-call]
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(torch.cat([x, x]))[:2], expected)
    half = copy.deepcopy(layer).to(torch.bfloat16)
    assert half.order.dtype == torch.int32
    torch.testing.assert_close(half(x.bfloat16()).float(), expected, rtol=0.05, atol=0.05)
    assert layer(x[0, 0]).shape == (8,)


@pytest.mark.parametrize("keep", [0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(6))
def test_global_allocation_knows_that_units_grow_cheaper(keep: float, seed: int) -> None:
    """Against all plans: at most what the longest step that was left out would have gained is lost."""
    draws = torch.Generator().manual_seed(seed)
    targets = tuple(Target(f"t.{i}", shape, True) for i, shape in enumerate([(8, 8), (12, 8), (8, 16)]))
    worth = {t.name: (10 ** (3 * torch.rand(8, generator=draws))).double().msort().flip(0) for t in targets}
    limit = int(keep * sum(t.size for t in targets))
    request = Request(targets, make("pivoted"), limit, gains=lambda t: worth[t.name])

    def outcome(plan: dict[str, int | None]) -> tuple[int, float]:
        error = sum(float(worth[t.name][r:].sum()) for t in targets if (r := plan[t.name]) is not None)
        return sum(request.cost(t, plan[t.name]) for t in targets), error

    cost, error = outcome(allocations["global"]().ranks(request))
    plans = (dict(zip(worth, ranks, strict=True)) for ranks in product(*([*request.ranks(t), None] for t in targets)))
    found = [outcome(plan) for plan in plans]
    assert cost <= limit
    assert error <= min((e for c, e in found if c <= limit - 8 * 8), default=math.inf) + 1e-9
    assert error <= 1.5 * min(e for c, e in found if c <= limit)


def test_at_equal_parameters_it_loses_less(tmp_path: Path) -> None:
    save_model(tmp_path / "dense", head="BertForSequenceClassification")
    write_csv(tmp_path / "train.csv", rows(32, 0))
    for name in ("frobenius", "kfac"):
        data = {"calibration": str(tmp_path / "train.csv")} if criteria[name].needs else {}
        chosen = {"keep": 0.6, "criterion": name, "allocation": "global", **data}
        made = {m: convert(str(tmp_path / "dense"), tmp_path / f"{name}-{m}", method=m, **chosen)
                for m in ("low-rank", "pivoted")}  # fmt: skip
        key = "metric_error" if criteria[name].needs & {Kind.INPUTS} else "error"
        assert made["pivoted"][key] < 0.95 * made["low-rank"][key]
        assert made["pivoted"]["targets"]["after"] <= 0.6 * made["pivoted"]["targets"]["before"]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_exports_reload_where_factcli_is_not(kind: str, tmp_path: Path, stranger: Run) -> None:
    head, auto = {
        "bert": ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
        "gpt2": ("GPT2LMHeadModel", "AutoModelForCausalLM"),
        "t5": ("T5ForConditionalGeneration", "AutoModelForSeq2SeqLM"),
    }[kind]
    save_model(tmp_path / "dense", kind=kind, head=head)
    result = convert(str(tmp_path / "dense"), tmp_path / "out", method="pivoted", keep=0.6, dtype="bfloat16")
    model = load(tmp_path / "out").eval()
    about, held = inspect(tmp_path / "out"), read_weights(tmp_path / "out", "out").bytes
    assert about["parameters"] == result["parameters"]["after"]  # the order of inputs has none, but bytes
    assert result["bytes"]["after"] == held - 2 * sum(x["structure"] != "dense" for x in result["layers"])
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if kind == "t5" else {})
    with torch.inference_mode():
        torch.save(model(**inputs).logits.float(), tmp_path / "logits.pt")
    code = f"""if True:
        import sys, torch, transformers
        ids, expected = torch.tensor([[1, 5, 6, 7, 2]]), torch.load(sys.argv[2])
        for folder in (sys.argv[1], sys.argv[3]):
            model = transformers.{auto}.from_pretrained(folder, trust_remote_code=True, dtype="auto").eval()
            assert type(model).__module__.endswith("modeling_pivoted") and model.dtype == torch.bfloat16
            with torch.inference_mode():
                assert torch.equal(model({", ".join(f"{name}=ids" for name in inputs)}).logits.float(), expected)
            model.save_pretrained(sys.argv[3])
    """
    done = stranger("-c", code, str(tmp_path / "out"), str(tmp_path / "logits.pt"), str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr


def test_it_trains_and_resumes_and_is_benched(tmp_path: Path) -> None:
    """From scratch (staged, as low-rank) and from an export; the loss falls, and what is saved is what was trained."""
    save_model(tmp_path / "dense", head="BertForSequenceClassification")
    train, validation = (write_csv(tmp_path / f"{n}.csv", rows(96, s)) for n, s in (("train", 0), ("validation", 1)))
    data = {"train": train, "validation": validation, "batch_size": 16, "device": "cpu", "learning_rate": 2e-3}
    staged = finetune(str(tmp_path / "dense"), tmp_path / "staged", method="pivoted", keep=0.5, stage_steps=2,
                      max_steps=6, **data)  # fmt: skip
    assert staged["schedule"] == "staged"
    convert(str(tmp_path / "dense"), tmp_path / "out", method="pivoted", keep=0.5)
    healed = finetune(str(tmp_path / "out"), tmp_path / "healed", epochs=12, **data)
    assert not healed["failed_run"]
    assert healed["metrics"]["accuracy"] > 0.8
    before, after = weights(tmp_path / "out"), weights(tmp_path / "healed")
    name = "bert.encoder.layer.0.attention.self.query"
    assert torch.equal(before[f"{name}.order"], after[f"{name}.order"])
    assert not torch.equal(before[f"{name}.factor_in.weight"], after[f"{name}.factor_in.weight"])
    timed = bench([str(tmp_path / "dense"), str(tmp_path / "out")], sequence_length=8, runs=1, device="cpu")
    assert timed["results"][1]["flops"] < timed["results"][0]["flops"]
