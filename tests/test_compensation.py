"""Compensation: what drifts, measured against plain hooks; the matrix that answers for it; whole conversions."""

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factcli import convert, load
from factcli.calibration import drift as drifting
from factcli.calibration import lockstep
from factcli.calibration.gather import collate
from factcli.calibration.losses import Example, decoder_inputs
from factcli.calibration.residual import find_sums
from factcli.errors import UsageError
from factcli.models.fit import find_fit
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import find_targets, matrix

from . import tiny
from .training_helpers import rows, save_model, write_csv

KINDS: dict[str, dict[str, int]] = {
    "bert": {}, "distilbert": {}, "electra": {}, "deberta-v2": {}, "modernbert": {}, "gpt2": {}, "llama": {},
    "t5": {"num_layers": 1}, "bart": {"encoder_layers": 1, "decoder_layers": 1},
}  # fmt: skip


def examples(count: int = 9) -> list[Example]:
    draw = torch.Generator().manual_seed(0)
    sizes = torch.randint(3, 14, (count,), generator=draw).tolist()
    return [Example((1, *torch.randint(4, 90, (size,), generator=draw).tolist(), 2)) for size in sizes]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_model(tmp_path_factory.mktemp("tokenizer") / "model")
    return find_model(str(folder)).tokenizer


def other(layer: nn.Module, seed: int) -> nn.Linear:
    """A linear layer of the same shape, near it."""
    w = matrix(layer).detach()
    new = nn.Linear(w.shape[1], w.shape[0], bias=layer.bias is not None)
    noise = torch.randn(w.shape, generator=torch.Generator().manual_seed(seed))
    new.weight.data = w + 0.3 * w.std() * noise
    if layer.bias is not None:
        new.bias.data = layer.bias.detach().clone()  # type: ignore[operator]
    return new


def swap(base: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(base.get_submodule(parent), leaf, layer)


Seen = dict[str, list[Tensor]]


@torch.no_grad()
def seen_by(base: Any, tokenizer: Any, names: list[str]) -> tuple[Seen, Seen]:
    """What modules are given and give, (T, n) for each example, of those calls that are of its tokens."""
    given: Seen = {name: [] for name in names}
    gave: Seen = {name: [] for name in names}

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if args[0].numel() // args[0].shape[-1] == tokens:
                given[name].append(args[0].reshape(tokens, -1).double())
                gave[name].append(output.reshape(tokens, -1).double())

        return note

    handles = [base.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    for example in examples():
        tokens = len(example.ids)
        batch, _ = collate([example], find_fit(base, tokenizer, "base"), torch.device("cpu"))
        base(**batch, **decoder_inputs(base, batch))
    for handle in handles:
        handle.remove()
    return given, gave


def sums_of(base: Any, tokenizer: Any, names: list[str]) -> dict[str, str]:
    batch, _ = collate(examples(1), find_fit(base, tokenizer, "base"), torch.device("cpu"))
    base.requires_grad_(False)
    return find_sums(base, lambda: base(**batch, **decoder_inputs(base, batch))[0], names)


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_that_of_inputs_and_stream(kind: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a dense and a changed model that are simply run again for every layer."""
    monkeypatch.setattr(lockstep, "TOKENS", 40)  # several batches
    base = tiny.make(kind, **KINDS[kind]).base_model.eval()
    names = [t.name for t in find_targets(base)]
    sums = sums_of(base, tokenizer, names)
    changed = copy.deepcopy(base)
    met = []
    with lockstep.Lockstep(base, tokenizer, examples(), names, torch.device("cpu")) as steps:
        for name, drift in steps:
            where = [name, *([sums[name]] if name in sums else [])]
            (dense_in, dense_out), (now_in, now_out) = (seen_by(m, tokenizer, where) for m in (base, changed))
            y, z = torch.cat(now_in[name]), torch.cat(dense_out[name])
            if name in sums:
                z = torch.cat(dense_in[sums[name]]) - (torch.cat(now_in[sums[name]]) - torch.cat(now_out[name]))
            layer = base.get_submodule(name)
            bias = 0.0 if layer.bias is None else layer.bias.detach().double()
            assert torch.allclose(drift.wanted, z.mean(0) - bias, atol=1e-5)
            assert torch.allclose(drift.after, y.mean(0), atol=1e-5)
            moved = y - y.mean(0)
            assert torch.allclose(drift.covariance, moved.T @ moved / len(y), atol=1e-4)
            assert torch.allclose(drift.cross, (z - z.mean(0)).T @ moved / len(y), atol=1e-4)
            new = other(layer, len(met))
            swap(changed, name, new)
            steps.replace(name, new)
            met.append(name)
    assert sorted(met) == sorted(names)


JOINS = {  # of all targets, those that give to the residual stream, and who has the sum
    "bert": (4, {"encoder.layer.1.output.dense": "encoder.layer.1.output.LayerNorm"}),
    "deberta-v2": (4, {"encoder.layer.0.attention.output.dense": "encoder.layer.0.attention.output.LayerNorm"}),
    "modernbert": (6, {"layers.1.mlp.Wo": "layers.2.attn_norm", "layers.2.mlp.Wo": "final_norm"}),
    "gpt2": (4, {"h.0.mlp.c_proj": "h.1.ln_1", "h.1.mlp.c_proj": "ln_f"}),
    "t5": (5, {"decoder.block.0.layer.1.EncDecAttention.o": "decoder.block.0.layer.2.layer_norm"}),
    "bart": (5, {"decoder.layers.0.fc2": "decoder.layers.0.final_layer_norm"}),
}


@pytest.mark.parametrize("kind", JOINS)
def test_who_gives_to_the_residual_stream(kind: str, tokenizer: Any) -> None:
    base = tiny.make(kind, **KINDS[kind]).base_model.eval()
    found = sums_of(base, tokenizer, [t.name for t in find_targets(base)])
    count, some = JOINS[kind]
    assert len(found) == count
    assert some.items() <= found.items()


class Odd(nn.Module):
    """Blocks in which what a norm is given is not the stream itself, is scaled, is of two layers at once, or is summed
    in place."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.a, self.b, self.norm = way, nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "both":
            return self.norm(x + self.a(x) + self.b(x))
        if self.way == "scaled":
            return self.norm(x + self.b(0.5 * self.a(x).tanh()))
        if self.way == "in place":
            y = self.a(x)
            y += x
            return y + self.b(self.norm(y).relu_())
        x = x + self.a(x)
        seen = x.clone() if self.way == "copied" else x
        return x + self.b(self.norm(seen))


@pytest.mark.parametrize(("way", "expected"), [
    ("plain", {"a": "norm"}), ("both", {"b": "norm"}), ("scaled", {"b": "norm"}), ("copied", {}), ("in place", {}),
])  # fmt: skip
def test_what_is_no_sum_of_the_stream_is_left_alone(way: str, expected: dict[str, str]) -> None:
    torch.manual_seed(0)
    model, x = Odd(way).requires_grad_(False), torch.randn(1, 5, 6)
    assert find_sums(model, lambda: model(x), ["a", "b"]) == expected  # type: ignore[no-any-return]


def test_no_memory_to_look_is_no_model_without_sums() -> None:
    def forward() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        find_sums(Odd("plain"), forward, ["a", "b"])


def test_of_long_data_a_share_of_every_length_is_run(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.make("bert").base_model.eval()
    names = [t.name for t in find_targets(base)]
    data = examples()
    monkeypatch.setattr(lockstep, "AT_MOST", sum(len(e.ids) for e in data) // 2)

    def covariances(given: list[Example]) -> list[Tensor]:
        with lockstep.Lockstep(base, tokenizer, given, names, torch.device("cpu")) as steps:
            assert sum(len(b["input_ids"]) for b in steps.batches) == 4
            assert {len(e.ids) for e in given} >= {int(m.sum()) for b in steps.batches for m in b["attention_mask"]}
            return [drift.covariance for _, drift in steps]

    found, turned = covariances(data), covariances(data[::-1])
    assert all(torch.equal(a, b) for a, b in zip(found, turned, strict=True))


def test_layers_that_run_more_than_once_are_left_out(tokenizer: Any) -> None:
    base = tiny.make("albert").base_model.eval()
    names = [t.name for t in find_targets(base)]
    with lockstep.Lockstep(base, tokenizer, examples(), names, torch.device("cpu")) as steps:
        assert list(steps) == []


def test_no_run_outlives_an_error_or_a_loop_left_early(tokenizer: Any) -> None:
    base = tiny.make("bert").base_model.eval()
    names = [t.name for t in find_targets(base)]

    def fail() -> None:
        with lockstep.Lockstep(base, tokenizer, examples(), names, torch.device("cpu")) as steps:
            for name, _ in steps:
                steps.replace(name, nn.Linear(7, 7))

    with pytest.raises(RuntimeError, match="shape"):
        fail()
    with lockstep.Lockstep(base, tokenizer, examples(), names, torch.device("cpu")) as steps:
        next(iter(steps))
    assert not [t for t in threading.enumerate() if isinstance(t, lockstep._Run)]


@pytest.mark.parametrize("centred", [True, False])
def test_compensated_is_a_minimum(centred: bool) -> None:
    """The gradient of a E|W x - T y|^2 + (1 - a) E|(W - T) y|^2 + ridge |T - W|^2 vanishes there."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=draw, dtype=torch.float64) + 0.4
    y = x @ torch.randn(6, 6, generator=draw, dtype=torch.float64) + 0.3
    w = torch.randn(4, 6, generator=draw, dtype=torch.float64)
    cut = (slice(90), slice(90, None))
    parts = [(y[None, s], x[None, s] @ w.T, torch.ones(1, len(x[s]))) for s in cut]
    found = drifting.compensated(w, drifting.measure_drift(parts), centred)
    if centred:
        x, y = x - x.mean(0), y - y.mean(0)
    ridge = drifting.RIDGE * y.square().mean()
    t = found.clone().requires_grad_()
    loss = (
        drifting.ANCHOR * (x @ w.T - y @ t.T).square().sum(1).mean()
        + (1 - drifting.ANCHOR) * (y @ (w - t).T).square().sum(1).mean()
        + ridge * (w - t).square().sum()
    )
    loss.backward()
    assert t.grad is not None
    assert float(t.grad.abs().max()) < 1e-9 * float(w.abs().max() * y.square().mean() * 100)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_inputs_that_never_change_compensate_for_nothing(value: float) -> None:
    draw = torch.Generator().manual_seed(0)
    w, y = torch.randn(4, 6, generator=draw, dtype=torch.float64), torch.full((1, 50, 6), value)
    drift = drifting.measure_drift([(y, torch.randn(1, 50, 4, generator=draw), torch.ones(1, 50))])
    assert torch.equal(drifting.compensated(w, drift, True), w)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compensation")
    save_model(folder / "bert", head="BertForSequenceClassification")
    save_model(folder / "gpt2", kind="gpt2", head="GPT2LMHeadModel")
    save_model(folder / "t5", kind="t5", head="T5ForConditionalGeneration", num_layers=1)
    write_csv(folder / "train.csv", rows(64, 0))
    return folder


@torch.no_grad()
def encoder_error(dense: Path, small: Path, data: Path) -> float:
    """Of the last hidden states on the texts that the model was calibrated on, relative."""
    source = find_model(str(dense))
    one, two, tokenizer = load_model(source).model.base_model.eval(), load(small).base_model.eval(), None
    tokenizer = source.tokenizer
    fit = find_fit(one, tokenizer, source.name)
    lost = total = 0.0
    for line in data.read_text().splitlines()[1:]:
        example = Example(tuple(tokenizer(line.rpartition(",")[0])["input_ids"]))
        batch, _ = collate([example], fit, torch.device("cpu"))
        states = [m(**batch, **decoder_inputs(m, batch))[0] for m in (one, two)]
        lost += float((states[0] - states[1]).square().sum())
        total += float((states[0] - states[0].mean((0, 1))).square().sum())
    return (lost / total) ** 0.5


@pytest.mark.parametrize("method", ["low-rank", "monarch"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_outputs_come_nearer_to_the_dense_model(kind: str, method: str, models: Path, tmp_path: Path) -> None:
    errors = {}
    for way in ("none", "sequential"):
        convert(
            str(models / kind), tmp_path / way, method=method, keep=0.5, criterion="activation", compensation=way,
            calibration=str(models / "train.csv"), device="cpu", **tiny.blocks(method),
        )  # fmt: skip
        errors[way] = encoder_error(models / kind, tmp_path / way, models / "train.csv")
    assert errors["sequential"] < errors["none"]


def test_the_first_layers_have_nothing_to_make_up_for(models: Path, tmp_path: Path) -> None:
    for way in ("none", "sequential"):
        convert(
            str(models / "bert"), tmp_path / way, keep=0.5, criterion="kfac", compensation=way,
            calibration=str(models / "train.csv"), device="cpu",
        )  # fmt: skip
    first, second = (load(tmp_path / way).base_model.encoder.layer for way in ("none", "sequential"))
    for name in ("query", "key", "value"):
        a, b = (getattr(x[0].attention.self, name).factor_out.weight for x in (first, second))
        assert torch.allclose(a, b, atol=1e-4)
    assert not torch.allclose(
        first[1].output.dense.factor_out.weight, second[1].output.dense.factor_out.weight, atol=1e-3
    )


def test_the_recipe_has_it_and_repeats_it(models: Path, tmp_path: Path) -> None:
    data = str(models / "train.csv")
    convert(str(models / "bert"), tmp_path / "a", keep=0.5, criterion="kfac", calibration=data, device="cpu")
    assert "compensation: sequential" in (tmp_path / "a" / "factcli_recipe.yaml").read_text()
    convert(
        str(models / "bert"), tmp_path / "b", config=tmp_path / "a" / "factcli_recipe.yaml", calibration=data,
        device="cpu",
    )  # fmt: skip
    one, two = ((tmp_path / x / "model.safetensors").read_bytes() for x in "ab")
    assert one == two


@pytest.mark.parametrize(("criterion", "way", "said"), [
    ("frobenius", "sequential", "activation, kfac"), ("kfac", "twice", "sequential or none"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(criterion: str, way: str, said: str, models: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        convert(str(models / "bert"), tmp_path / "out", keep=0.5, criterion=criterion, compensation=way)
    assert not (tmp_path / "out").exists()
