"""Pruning, mixed-rank training and both together (LPAF)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import factcli
from factcli.calibration.statistics import Statistics
from factcli.compress.criteria import Evidence
from factcli.compress.criteria.sparsity import Sparsity, SparsityOptions
from factcli.models.targets import Target
from factcli.recipe.fields import declared
from factcli.recipe.training import Prune
from factcli.remote_code.modeling_factorized import LowRankLinear
from factcli.training.mixed import MixedRank, consistency_loss
from factcli.training.pruning import Pruner, check_sizes, highest

from .processes import Python
from .training_helpers import same, save_model, train_and_be_killed, write_glue

FAST: dict[str, Any] = {"batch_size": 16, "learning_rate": 4e-3, "save_steps": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lpaf")
    save_model(folder / "base")
    save_model(folder / "narrow", hidden_size=16, intermediate_size=32)
    save_model(folder / "shallow", num_hidden_layers=1)
    write_glue(folder / "glue", "sst2", train=256)
    return folder


PRUNINGS = tuple(declared(Prune)["prune"].about.known)
SCOPES = tuple(declared(Prune)["prune_scope"].about.known)
VARIANTS = tuple(declared(SparsityOptions)["sparsity"].about.known)


@pytest.mark.parametrize("method", PRUNINGS)
@pytest.mark.parametrize("scope", SCOPES)
def test_density_follows_its_schedule_exactly(method: str, scope: str) -> None:
    """Entries that are pruned are zero after every step, whatever the optimizer's momentum does."""
    weights = {"a": nn.Parameter(torch.randn(6, 10)), "b": nn.Parameter(torch.randn(10, 10) * 3)}
    pruning = Prune(prune=method, density=0.25, prune_scope=scope, prune_warmup=0.2, prune_cooldown=0.3)
    pruner = Pruner(weights, pruning)
    optimizer = torch.optim.AdamW(weights.values(), lr=0.05)
    total = 40
    for step in range(1, total + 1):
        loss = sum((w * torch.randn_like(w)).sum() + w.square().sum() for w in weights.values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        pruner.before_step()
        optimizer.step()
        density = pruner.after_step(step, total)
        left = 1 - (step - 8) / (28 - 8)
        assert density == pytest.approx(0.25 + 0.75 * min(1, max(0, left)) ** 3)
        if scope == "matrix":
            assert all(int((w != 0).sum()) == round(density * w.numel()) for w in weights.values())
        else:
            assert sum(int((w != 0).sum()) for w in weights.values()) == round(density * 160)
    assert density == 0.25


def test_movement_keeps_what_grows_taylor_what_matters_and_magnitude_what_is_large() -> None:
    start = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    push = torch.tensor([[1.0, 0.5, -1.0, -1.0]])  # gradients: the first two shrink, the last two grow
    for method, kept in (("movement", [2, 3]), ("taylor", [0, 2]), ("magnitude", [0, 1])):
        weight = nn.Parameter(start.clone())
        pruner = Pruner({"w": weight}, Prune(prune=method, density=0.5, prune_warmup=0.0, prune_cooldown=0.9))
        weight.grad = push.clone()
        pruner.before_step()
        pruner.after_step(10, 10)
        assert torch.nonzero(weight[0])[:, 0].tolist() == kept
        assert torch.equal(weight[0, kept], start[0, kept])
    # The score is -w dL/dw, also of what is pruned, with the value that it had: so it may come back.
    weight = nn.Parameter(start.clone())
    pruner = Pruner({"w": weight}, Prune(prune="movement", density=0.5, prune_warmup=0.0, prune_cooldown=0.9))
    for gradient in (push, -3 * push):
        weight.grad = gradient.clone()
        pruner.before_step()
        pruner.after_step(10, 10)
    assert pruner.scores["w"].tolist() == (-start * push + 3 * start * push).tolist()
    assert torch.equal(weight, start * torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert torch.equal(weight.grad, -3 * push * torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_nothing_to_prune_is_refused() -> None:
    with pytest.raises(factcli.FactcliError, match="nothing to prune"):
        check_sizes(Prune(prune="magnitude", density=0.3), [])


def test_no_matrix_is_left_empty_by_what_others_have() -> None:
    weights = {"a": nn.Parameter(torch.randn(8, 8) * 0.01), "b": nn.Parameter(torch.randn(8, 8))}
    best = int(weights["a"].abs().argmax())
    pruner = Pruner(
        weights, Prune(prune="magnitude", density=0.3, prune_scope="global", prune_warmup=0.0, prune_cooldown=0.5)
    )
    pruner.after_step(10, 10)
    assert torch.nonzero(weights["a"].flatten()).flatten().tolist() == [best]
    assert sum(int((w != 0).sum()) for w in weights.values()) == round(0.3 * 128)


def test_equal_scores_are_cut_at_the_count() -> None:
    assert highest(torch.zeros(7), 3).tolist() == [True] * 3 + [False] * 4
    assert int(highest(torch.tensor([1.0, 1.0, 1.0, 2.0, 0.0]), 2).sum()) == 2


@pytest.mark.parametrize("method", PRUNINGS)
def test_a_pruned_model_is_dense_with_zeros(method: str, place: Path, tmp_path: Path) -> None:
    result = factcli.finetune(
        str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", prune=method, density=0.3,
        epochs=5, **FAST,
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    targets = [k for k in tensors if ".layer." in k and k.endswith("weight") and "LayerNorm" not in k]
    assert len(targets) == 12
    for name, tensor in tensors.items():
        zeros = int((tensor == 0).sum())
        assert (zeros == tensor.numel() - round(0.3 * tensor.numel())) == (name in targets), name
    for layer in factcli.diagnose(str(tmp_path / "out"))["layers"]:
        assert list(layer["errors"]) == ["frobenius", "sparsity"]
        assert layer["rank"] <= min(layer["shape"])
    again = factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=place / "glue", device="cpu")[0]
    assert again["metrics"] == result["metrics"]


LPAF_OPTIONS: dict[str, Any] = {"prune": "movement", "density": 0.5, "keep": 0.5}
LPAF = Path(__file__).parent.parent / "recipes" / "lpaf.yaml"


TRAINING: dict[str, Any] = {"task": "sst2", "max_steps": 24, "save_steps": 2}


@pytest.mark.parametrize(
    "options",
    [{"prune": "movement", "density": 0.3}, {"keep": 0.5, "schedule": "mixed-rank"}],
    ids=["prune", "mix"],
)
def test_an_interrupted_run_ends_the_same(options: dict[str, Any], place: Path, tmp_path: Path) -> None:
    """Scores, masks and what was pruned come back with the checkpoint; so do the draws and the place of a mixture."""

    def stop(event: Any) -> None:
        if (event.kind, event.step) == ("step", 9):
            raise InterruptedError

    def run(output: Path, **more: Any) -> None:
        given = FAST | TRAINING | options | more
        factcli.finetune(str(place / "base"), output, data_dir=place / "glue", **given)

    run(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        run(tmp_path / "out", watch=stop)
    run(tmp_path / "out", resume=True)
    assert same(tmp_path / "whole", tmp_path / "out")
    assert not list(tmp_path.glob("out-*"))


def test_a_killed_lpaf_ends_the_same(place: Path, python: Python, tmp_path: Path) -> None:
    """Killed in its first phase, and resumed and killed in its third: the phases that were done come back as well."""
    options = FAST | TRAINING | {"data_dir": place / "glue", "config": LPAF, "keep": 0.5}
    output, phases = tmp_path / "out", tmp_path / "out-checkpoints"
    factcli.finetune(str(place / "base"), tmp_path / "whole", **options)
    train_and_be_killed(python, place / "base", output, options, "step", 3)  # of 6
    assert [p.name for p in phases.glob("1/*-checkpoints/checkpoint-*")] == ["checkpoint-2"]
    train_and_be_killed(
        python, place / "base", output, options | {"resume": True}, "step", 9, phases / "2" / "base" / "config.json"
    )
    assert (phases / "1" / "base" / "config.json").is_file()
    (phases / "2" / "done.json").unlink()  # as a kill between a phase's model and its note leaves it
    assert "checkpoint-8" in [p.name for p in tmp_path.glob("out-checkpoints/checkpoint-*")]
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = python.run("-m", "factcli", "finetune", place / "base", *flags, "-o", output, "--resume", "-q")
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "whole", output)
    assert not list(tmp_path.glob("out-*"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_criterion_looks_at_what_survived(variant: str) -> None:
    weight = torch.randn(4, 6, dtype=torch.float64)
    weight[0, :5], weight[1, :3] = 0, 0
    criterion, target = Sparsity(SparsityOptions(sparsity=variant)), Target("x", (4, 6), True)
    norm = criterion.norm(Evidence(target, Statistics(0), weight))
    difference = torch.randn(4, 6, dtype=torch.float64)
    rows = {"l0": [1, 3, 6, 6], "l1": weight.abs().sum(1).tolist(), "l2": weight.norm(dim=1).tolist()}
    expected = 0.0
    for i in range(4):
        for j in range(6):
            d = float(weight[i, j] != 0) if variant == "entries" else rows[variant][i] ** 2
            expected += d * float(difference[i, j]) ** 2
    assert norm.error(difference) == pytest.approx(expected, rel=2e-3)  # a floor keeps the weights above zero
    whole = criterion.norm(Evidence(target, Statistics(0), torch.ones(4, 6)))
    assert whole.error(difference) == pytest.approx(float(difference.square().sum()))


def layers() -> tuple[nn.Module, dict[str, tuple[torch.Tensor, torch.Tensor | None]]]:
    factors = nn.Module()
    factors.a, factors.b = LowRankLinear(5, 4, 2, True), LowRankLinear(4, 4, 2, False)
    return factors.train(), {"a": (torch.randn(4, 5), torch.randn(4)), "b": (torch.randn(4, 4), None)}


def test_all_matrices_or_all_factors_bit_for_bit() -> None:
    base, matrices = layers()
    x, y = torch.randn(3, 5), torch.randn(3, 4)
    own = [base.a(x), base.b(y)]
    mixed = MixedRank(base, matrices, 1.0, 0.5)
    theirs = [nn.functional.linear(x, *matrices["a"]), nn.functional.linear(y, *matrices["b"])]
    assert all(torch.equal(a, b) for a, b in zip([base.a(x), base.b(y)], theirs, strict=True))
    base.a(x).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in base.a.parameters())
    base.eval()
    assert torch.equal(base.a(x), own[0])
    base.train()
    assert [mixed.anneal(step, 10) for step in (0, 1, 4, 5, 6, 10)] == [1.0, 0.8, pytest.approx(0.2), 0.0, 0.0, 0.0]
    assert all(torch.equal(a, b) for a, b in zip([base.a(x), base.b(y)], own, strict=True))
    assert list(base.state_dict()) == list(layers()[0].state_dict())
    mixed.detach()
    assert "forward" not in vars(base.a)


def test_a_half_share_answers_half_of_the_time() -> None:
    base, matrices = layers()
    x = torch.randn(1, 5)
    own = base.a(x)
    MixedRank(base, matrices, 0.5, 1.0)
    torch.manual_seed(0)
    count = sum(torch.equal(base.a(x), own) for _ in range(400))
    assert 160 < count < 240


def test_consistency_by_hand() -> None:
    a, b = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    p, q = a.softmax(-1), b.softmax(-1)
    expected = (((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 3 / 2).item()
    assert consistency_loss(a, b, False).item() == pytest.approx(expected, rel=1e-5)
    assert consistency_loss(a, b, True).item() == pytest.approx((a - b).square().mean().item(), rel=1e-5)


@pytest.mark.parametrize(("criterion", "new_head"), [("sparsity", False), ("fisher", True)])
def test_the_three_phases_alone_and_in_one(criterion: str, new_head: bool, place: Path, tmp_path: Path) -> None:
    """A quarter of the epochs prunes; a criterion that looks at data reads the task's; a new head is new once."""
    common: dict[str, Any] = {"task": "sst2", "data_dir": place / "glue", "seed": 2, **FAST}
    pruning: dict[str, Any] = {"prune": "movement", "density": 0.4, "new_head": new_head, "exclude": ["query"]}
    budget: dict[str, Any] = {"keep": 0.5, "criterion": criterion, "allocation": "uniform"}
    one = factcli.finetune(
        str(place / "base"), tmp_path / "one", config=LPAF, epochs=4, **pruning, **budget, **common
    )  # fmt: skip
    assert one["metrics"]["accuracy"] > 0.9
    assert one["schedule"] == "mixed-rank"
    assert not (tmp_path / "one-checkpoints").exists()
    sparse = factcli.finetune(str(place / "base"), tmp_path / "sparse", epochs=1, **pruning, **common)
    zeros = {k: bool((t == 0).any()) for k, t in load_file(tmp_path / "sparse" / "model.safetensors").items()}
    assert [zeros[f"bert.encoder.layer.0.attention.self.{k}.weight"] for k in ("query", "key")] == [False, True]
    recipe = yaml.safe_load((tmp_path / "sparse" / "factcli_recipe.yaml").read_text())
    assert recipe["training"]["prune_exclude"] == ["query"]
    texts = {} if criterion == "sparsity" else {"calibration": "sst2", "data_dir": place / "glue"}
    factcli.convert(str(tmp_path / "sparse"), tmp_path / "factors", **budget, **texts, exclude=["query"])
    last = factcli.finetune(
        str(tmp_path / "factors"),
        tmp_path / "three",
        schedule="mixed-rank",
        mixed_with=str(tmp_path / "sparse"),
        epochs=3,
        **common,
    )
    assert same(tmp_path / "one", tmp_path / "three")
    assert {f.name for f in (tmp_path / "one").iterdir()} == {f.name for f in (tmp_path / "three").iterdir()}
    assert one["steps"] == sparse["steps"] + last["steps"]
    assert one["pruned"]["metrics"] == sparse["metrics"]
    written = json.loads((tmp_path / "one" / "finetune_results.json").read_text())
    apart = {"pushed", "losses", "validation", "model", "output", "seconds"}
    assert {k: v for k, v in one.items() if k not in apart} == {k: v for k, v in written.items() if k not in apart}
    assert (written["model"], written["output"]) == ("base", "one")  # without directories
    made = factcli.inspect(tmp_path / "one")
    assert made["made_with"]["model"] == "base"
    assert (made["recipe"]["criterion"], made["recipe"]["training"]["prune"]) == (criterion, "movement")


def test_an_unfinished_lpaf_is_not_lost_and_not_mixed_with_another(place: Path, tmp_path: Path) -> None:
    sparse, factors = (tmp_path / f"out-checkpoints/{i}/base" for i in (1, 2))

    def run(**options: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"keep": 0.5, "save_steps": 5} | options
        return factcli.finetune(
            str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", config=LPAF, max_steps=40,
            **(FAST | given),
        )  # fmt: skip

    def stop(event: Any) -> None:
        if (factors / "config.json").is_file() and list(tmp_path.glob("out-checkpoints/checkpoint-*")):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(watch=stop)
    before = (sparse / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(factcli.FactcliError, match="holds an unfinished run: --resume continues it"):
        run()
    with pytest.raises(factcli.FactcliError, match=r"--keep of the factorization \(0\.5 then, 0\.3 now\)"):
        run(resume=True, keep=0.3)
    with pytest.raises(factcli.FactcliError, match=r"--density \(0\.5 then, 0\.9 now\)"):
        run(resume=True, density=0.9)
    assert (sparse / "model.safetensors").stat().st_mtime_ns == before
    result = run(resume=True)
    assert (result["steps"], result["pruned"]["steps"]) == (40, 10)
    assert not list(tmp_path.glob("out-*"))


@pytest.mark.parametrize("consistency", [0.0, 1.0])
def test_mixed_rank_of_a_dense_model_with_itself(consistency: float, place: Path, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(
        f"method: monarch\nblocks: 2\nkeep: 0.5\ntraining: {{schedule: mixed-rank, consistency: {consistency}}}\n"
    )
    result = factcli.finetune(
        str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", config=config, epochs=5, **FAST
    )
    assert result["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("base", {"prune": "movement"}, "give both"),
        ("base", {"prune": "movment", "density": 0.5}, "'movment' is unknown"),
        ("base", {"prune": "movement", "density": 1.5}, "--density 1.5 is not above 0 and at most 1"),
        ("base", {"prune": "movement", "density": 0}, "--density 0"),
        ("base", {"prune": "movement", "density": 0.0001}, "leaves nothing of"),
        ("base", {"prune": "movement", "density": 0.5, "prune_scope": "row"}, "--prune-scope 'row' is unknown"),
        ("base", {"mixed_with": "base", "keep": 0.5}, "--mixed-with has no effect with --schedule staged"),
        ("base", {**LPAF_OPTIONS, "keep": 0.0001}, "--keep 0.0001"),
        ("base", {**LPAF_OPTIONS, "include": ["nothing"]}, "nothing"),
        ("base", {**LPAF_OPTIONS, "schedule": "staged"}, "leave out --schedule and --mixed-with"),
        ("base", {**LPAF_OPTIONS, "mixed_with": "base"}, "leave out --schedule and --mixed-with"),
        ("small", {"prune": "movement", "density": 0.5}, "is factorized already: --prune"),
        ("small", {"schedule": "mixed-rank"}, "needs --mixed-with"),
        ("small", {"schedule": "mixed-rank", "mixed_with": "narrow"}, "as 16 x 16, the factors make 32 x 32"),
        (
            "small",
            {"schedule": "mixed-rank", "mixed_with": "shallow"},
            "shallow has no encoder.layer.1.*: take",
        ),
    ],
)
def test_refused(model: str, options: dict[str, Any], said: str, place: Path, tmp_path: Path) -> None:
    if not (place / "small").exists():
        factcli.convert(str(place / "base"), place / "small", keep=0.5)
    if "mixed_with" in options:
        options = options | {"mixed_with": str(place / options["mixed_with"])}
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.finetune(
            str(place / model), tmp_path / "out", task="sst2", data_dir=place / "glue", max_steps=2, **options, **FAST
        )
    assert not list(tmp_path.iterdir())
