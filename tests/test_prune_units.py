"""The rival of whole heads and units, in benchmarks/prune_units.py, against computations by other ways."""

import importlib
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from . import tiny
from .conftest import ROOT


@pytest.fixture(scope="module")
def units() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("prune_units")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def model() -> Any:
    found: Any = tiny.make("bert", "BertForSequenceClassification", num_labels=2, hidden_size=16, intermediate_size=6)
    return found.train(False)


def data(count: int = 2) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    found = []
    for _ in range(count):
        mask = torch.ones(4, 7, dtype=torch.long)
        mask[1, 5:] = 0
        ids, labels = torch.randint(5, 99, (4, 7), generator=draw), torch.randint(0, 2, (4,), generator=draw)
        found.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return found


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**batch).logits
    return found


def test_nothing_pruned_is_the_dense_model(units: ModuleType, model: Any) -> None:
    layers, batches = units.layers_of(model), data()
    before = logits(model, batches[0])
    information = units.fisher(model, layers, batches)
    stay = units.chosen(layers, information, 1e18)
    assert all(bool(mask.all()) for mask in stay)
    stay = [units.rearranged(mask, block) for mask, block in zip(stay, information, strict=True)]
    masks = units.scaled(model, layers, stay, batches)
    assert all(torch.equal(mask, torch.ones_like(mask)) for mask in masks)
    units.folded(layers, masks)
    assert torch.equal(logits(model, batches[0]), before)


def test_masks_in_the_weights_are_masks(units: ModuleType, model: Any) -> None:
    layers, batch = units.layers_of(model), data()[0]
    masks = [torch.rand(one.units) for one in layers]
    with torch.no_grad(), units.masked(layers, masks):
        expected = model(**batch).logits
    units.folded(layers, masks)
    torch.testing.assert_close(logits(model, batch), expected)


def test_the_information_is_that_of_each_text_by_itself(units: ModuleType, model: Any) -> None:
    """Central differences of each text's own loss, one mask at a time."""
    layers, batch, step = units.layers_of(model), data(1)[0], 1e-4
    model.double()
    found = units.fisher(model.float(), layers, [batch])[1]
    model.double()
    gradients = torch.zeros(4, layers[1].units, dtype=torch.float64)
    for text, unit in product(range(4), range(layers[1].units)):
        losses = []
        for sign in (1, -1):
            masks = [torch.ones(one.units, dtype=torch.float64) for one in layers]
            masks[1][unit] += sign * step
            one = {k: v[text : text + 1] for k, v in batch.items()}
            with torch.no_grad(), units.masked(layers, masks):
                losses.append(float(model(**one).loss))
        gradients[text, unit] = (losses[0] - losses[1]) / (2 * step)
    torch.testing.assert_close(found, gradients.T @ gradients / 4, rtol=1e-3, atol=1e-9)


def test_what_stays_is_the_best_within_the_flops(units: ModuleType, model: Any) -> None:
    layers = units.layers_of(model)[:2]
    draw = torch.Generator().manual_seed(0)
    information = [torch.diag(torch.rand(one.units, generator=draw).double()) for one in layers]
    every = torch.cat([i.diag() for i in information])
    costs = torch.cat([torch.full((one.units,), float(one.flops)) for one in layers])
    most = 0.5 * float(costs.sum())
    stay = torch.cat(units.chosen(layers, information, most))
    assert float(costs[stay].sum()) <= most
    masks = torch.tensor(list(product((False, True), repeat=len(every))))
    allowed = (masks.double() @ costs.double()) <= most
    assert float(every[~stay].sum()) == pytest.approx(float(((~masks).double() @ every)[allowed].min()))


def test_rearranging_never_loses_by_the_whole_information(units: ModuleType) -> None:
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        root = torch.randn(8, 5, generator=draw, dtype=torch.float64)
        information, stay = root @ root.T, torch.randperm(8, generator=draw) < 5
        after = units.rearranged(stay, information)

        def lost(mask: Tensor, information: Tensor = information) -> float:
            gone = (~mask).double()
            return float(gone @ information @ gone)

        assert int(after.sum()) == int(stay.sum())
        assert lost(after) <= lost(stay) + 1e-9


def test_scales_are_those_of_least_squares(units: ModuleType, model: Any) -> None:
    """Of the first layer that lost a head: an explicit system of all tokens and dimensions, solved by another way."""
    layers, batch = units.layers_of(model), data(1)[0]
    stay = [torch.ones(one.units, dtype=torch.bool) for one in layers]
    stay[0][1] = False
    masks = units.scaled(model, layers, stay, [batch], damping=0.0)
    block = model.bert.encoder.layer[0].attention.output
    seen: dict[str, Tensor] = {}
    handle = block.dense.register_forward_hook(lambda m, given, out: seen.update(given=given[0], out=out))
    logits(model, batch)
    handle.remove()
    token = batch["attention_mask"].bool()
    h, width = seen["given"][token].double(), layers[0].width
    weight = block.dense.weight.detach().double()
    parts = [h[:, i : i + width] @ weight[:, i : i + width].T for i in range(0, h.shape[1], width)]
    kept = torch.stack([parts[i].flatten() for i in (0, 2, 3)], 1)
    wanted = (seen["out"][token].double() - block.dense.bias.detach().double()).flatten()
    scales = torch.linalg.lstsq(kept, wanted[:, None]).solution[:, 0]
    torch.testing.assert_close(masks[0][[0, 2, 3]], scales.float(), rtol=1e-3, atol=1e-4)
    assert float(masks[0][1]) == 0


def test_the_share_of_the_targets_has_the_flops(units: ModuleType, tmp_path: Path) -> None:
    bench = object.__new__(units.Bench)
    bench.flops, bench.of_targets = 100, 60
    assert bench.keep(0.7) == pytest.approx(0.5)  # 40 stay as they are, 30 of 60
