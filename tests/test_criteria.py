"""Every criterion with every structure and allocation, from data to a reloaded export."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from factcli import convert, load
from factcli.calibration.statistics import Kind
from factcli.compress.allocations import allocations
from factcli.compress.criteria import criteria
from factcli.compress.measured import measure
from factcli.compress.norms import ElementwiseNorm, KroneckerNorm
from factcli.compress.structures import structures
from factcli.errors import FactcliError, UsageError
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import find_targets, matrix
from factcli.recipe.factorizing import Recipe

from . import tiny
from .compress.made import BLOCKS, make
from .training_helpers import rows, save_model, write_csv, write_glue

RECIPES = Path(__file__).parent.parent / "recipes"
NEEDY = [name for name in criteria if criteria[name].needs]


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a file of texts with labels, and a cache of its own."""
    folder = tmp_path_factory.mktemp("criteria")
    save_model(folder / "bert", head="BertForSequenceClassification")
    save_model(folder / "gpt2", kind="gpt2", head="GPT2LMHeadModel")
    save_model(folder / "t5", kind="t5", head="T5ForConditionalGeneration", num_layers=1)  # no biases
    write_csv(folder / "train.csv", rows(48, 0))
    return folder


@pytest.fixture(autouse=True)
def own_cache(world_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(world_of / "cache"))


def test_all_are_registered() -> None:
    assert set(criteria) >= {"frobenius", "fisher-rows", "fisher", "activation", "kfac"}
    assert [n for n in criteria if criteria[n].comparable] == ["fisher", "kfac"]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("method", list(structures))
@pytest.mark.parametrize("name", list(criteria))
def test_the_error_of_the_export_is_the_one_predicted(
    name: str, method: str, kind: str, world_of: Path, tmp_path: Path
) -> None:
    """The norm is computed anew on what the reloaded export holds; for one block also as the tail of the gains."""
    data = {"calibration": str(world_of / "train.csv")} if criteria[name].needs else {}
    alone = {"compensation": "none"} if Kind.INPUTS in criteria[name].needs else {}
    result = convert(
        str(world_of / kind), tmp_path / "out", method=method, keep=0.5, criterion=name, device="cpu", **data, **alone,
        **tiny.blocks(method),
    )  # fmt: skip
    source = find_model(str(world_of / kind))
    dense = load_model(source)
    measured = measure(source, dense, Recipe(criterion=name, **data))
    small = load(tmp_path / "out")
    lost = total = predicted = 0.0
    for target in find_targets(dense.model.base_model):
        entry = next(x for x in result["layers"] if x["name"] == target.name)
        if entry["rank"] is None:
            continue
        w = matrix(dense.model.base_model.get_submodule(target.name)).detach().double()
        layer = small.base_model.get_submodule(target.name).double()  # what it holds, without rounding of its products
        eye = torch.eye(target.shape[1], dtype=torch.float64)
        with torch.no_grad():
            bias = layer(torch.zeros_like(eye[:1]))
            change = w - (layer(eye) - bias).T
        norm = measured.norm(target, w)
        lost += norm.error(change)
        total += norm.error(w)
        predicted += float(make(method, 2).gains(w, norm)[entry["rank"] :].sum())
        if isinstance(norm, KroneckerNorm) and norm.mean is not None:
            assert target.bias
            moved = bias[0] - dense.model.base_model.get_submodule(target.name).bias.detach().double()
            assert torch.allclose(moved, change @ norm.mean, atol=1e-5)
    assert result.get("metric_error", result["error"]) == pytest.approx((lost / total) ** 0.5, rel=1e-6)
    if method not in BLOCKS and not isinstance(norm, ElementwiseNorm):
        assert (lost / total) ** 0.5 == pytest.approx((predicted / total) ** 0.5, rel=1e-6)


def test_activation_is_the_error_of_the_outputs(world_of: Path, tmp_path: Path) -> None:
    """On the calibration texts one by one, the mean squared error of a layer's outputs is the error predicted."""
    from factcli.calibration.data import CalibrationOptions, load_examples
    from factcli.models.fit import find_fit

    data = str(world_of / "train.csv")
    name = "encoder.layer.0.intermediate.dense"
    convert(
        str(world_of / "bert"), tmp_path / "out", keep=0.4, criterion="activation", calibration=data, include=[name]
    )
    source = find_model(str(world_of / "bert"))
    dense, small = load_model(source), load(tmp_path / "out")
    norm = measure(source, dense, Recipe(criterion="activation", calibration=data, include=(name,))).norm(
        next(t for t in find_targets(dense.model.base_model) if t.name == name)
    )
    one, other = (m.base_model.get_submodule(name) for m in (dense.model, small))
    lost = count = 0.0
    fit = find_fit(dense.model, source.tokenizer, source.name)
    for example in load_examples(CalibrationOptions(data), fit, source.config, False):
        seen: list[torch.Tensor] = []
        hook = one.register_forward_hook(lambda m, args, out, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            dense.model(input_ids=torch.tensor([example.ids]))
            hook.remove()
            lost += float((one(seen[0]) - other(seen[0])).double().square().sum())
        count += len(example.ids)
    weight = other.factor_out.weight.double() @ other.factor_in.weight.double()
    assert lost / count == pytest.approx(norm.error(one.weight.detach().double() - weight.detach()), rel=1e-4)


@pytest.mark.parametrize("name", NEEDY)
def test_it_is_the_best_in_its_own_metric(name: str, world_of: Path, tmp_path: Path) -> None:
    data = str(world_of / "train.csv")
    source = find_model(str(world_of / "bert"))
    dense = load_model(source)
    measured = measure(source, dense, Recipe(criterion=name, calibration=data))
    errors = {}
    for other in criteria:
        texts = {"calibration": data} if criteria[other].needs else {}
        convert(str(world_of / "bert"), tmp_path / other, keep=0.4, criterion=other, **texts)
        small = load(tmp_path / other)
        errors[other] = sum(
            measured.norm(t).error(
                matrix(dense.model.base_model.get_submodule(t.name)).detach().double()
                - (lambda x: x.factor_out.weight.double() @ x.factor_in.weight.double())(
                    small.base_model.get_submodule(t.name)
                ).detach()
            )
            for t in find_targets(dense.model.base_model)
        )
    assert min(errors, key=errors.__getitem__) == name


@pytest.mark.parametrize("method", list(structures))
@pytest.mark.parametrize("name", list(criteria))
def test_global_allocation(name: str, method: str, world_of: Path, tmp_path: Path) -> None:
    result = convert(
        str(world_of / "bert"), tmp_path / "out", method=method, keep=0.6, criterion=name, allocation="global",
        rank_multiple=2, **tiny.blocks(method),
        **({"calibration": str(world_of / "train.csv")} if criteria[name].needs else {}),
    )  # fmt: skip
    assert 0.5 < result["targets"]["after"] / result["targets"]["before"] <= 0.6
    assert all(x["rank"] is None or x["rank"] % 2 == 0 for x in result["layers"])
    assert any("not comparable" in n for n in result.get("notes", [])) == (not criteria[name].comparable)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", trust_remote_code=True)
    assert torch.isfinite(model(input_ids=torch.tensor([[1, 5, 6, 2]])).logits).all()


def test_dry_run_is_the_plan_that_is_written(world_of: Path, tmp_path: Path) -> None:
    kept = {"keep": 0.4, "criterion": "kfac", "allocation": "global", "calibration": str(world_of / "train.csv")}
    plan = convert(str(world_of / "bert"), dry_run=True, **kept)
    made = convert(str(world_of / "bert"), tmp_path / "out", **kept)
    assert plan["layers"] == made["layers"]
    assert made["calibration"]["cached"]
    assert made["calibration"]["examples"] == 48


def test_a_budget_never_exceeds_dense(world_of: Path) -> None:
    """Budgets count dense parameters (others counted ranks, and "compressed" to more)."""
    for name in allocations:
        result = convert(
            str(world_of / "bert"), keep=0.97, criterion="kfac", allocation=name, dry_run=True,
            calibration=str(world_of / "train.csv"),
        )  # fmt: skip
        assert result["targets"]["after"] <= 0.97 * result["targets"]["before"]
        assert all(x["parameters"] <= x["shape"][0] * x["shape"][1] for x in result["layers"])


@pytest.mark.parametrize("name", ["fwsvd", "tfwsvd", "drone", "svd-llm-style", "kfac"])
def test_recipes_run(name: str, world_of: Path, tmp_path: Path) -> None:
    budget = {"rank": 4} if name in ("fwsvd", "tfwsvd") else {}
    result = convert(
        str(world_of / "bert"), tmp_path / "out", config=RECIPES / f"{name}.yaml",
        calibration=str(world_of / "train.csv"), **budget,
    )  # fmt: skip
    assert result["metric_error"] < 1


def test_glue_by_name(world_of: Path, tmp_path: Path) -> None:
    glue = write_glue(tmp_path / "glue", "sst2")
    result = convert(
        str(world_of / "bert"), tmp_path / "out", keep=0.5, criterion="activation", calibration="sst2", data_dir=glue,
        calibration_samples=20,
    )  # fmt: skip
    assert result["calibration"]["examples"] == 20


@pytest.mark.parametrize("name", NEEDY)
def test_without_data(name: str, world_of: Path) -> None:
    with pytest.raises(UsageError, match="give --calibration"):
        convert(str(world_of / "bert"), keep=0.5, criterion=name, dry_run=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fisher": "true"}, "--fisher 'true' is unknown"),
        ({"criterion": "fisher", "solver": "newton"}, "--solver 'newton' is unknown: take cg or adam-sgd"),
        ({"criterion": "sparsity", "sparsity": "l3"}, "--sparsity 'l3' is unknown: take l0, l1, l2, entries"),
        ({"calibration_samples": -1}, "--calibration-samples -1 is below 1"),
        ({"rank_multiple": -8}, "--rank-multiple -8 is below 1"),
        ({"keep": None, "rank": 4, "allocation": "global"}, "--rank is one rank for all"),
        ({"criterion": "kfacc"}, "did you mean 'kfac'"),
    ],
)
def test_wrong_options(options: dict[str, object], said: str, world_of: Path) -> None:
    given = {"keep": 0.5, "criterion": "kfac", "calibration": str(world_of / "train.csv")} | options
    with pytest.raises(FactcliError, match=said):
        convert(str(world_of / "bert"), dry_run=True, **given)  # type: ignore[arg-type]


def test_the_command(factcli: Callable[..., object], world_of: Path, tmp_path: Path) -> None:
    done = factcli(
        "convert", world_of / "bert", "-c", RECIPES / "kfac.yaml", "--calibration", world_of / "train.csv",
        "-o", tmp_path / "out", "--json", FACTCLI_CACHE=str(world_of / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["criterion"] == "kfac"
    assert result["calibration"]["bytes"] > 0
