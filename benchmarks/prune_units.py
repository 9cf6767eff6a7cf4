"""Whole heads and feed-forward units pruned, without training, beside factors at equal FLOPs.

    python benchmarks/prune_units.py --data-dir GLUE [--tasks sst2 mrpc reviews] [--flops 0.7 0.5 0.3] [--samples 1024]
        [--work DIR] [--results recipes/results]

The rival is that of Kwon et al. 2022 (A Fast Post-Training Pruning Framework for Transformers): every head and every
unit of a feed-forward layer has a mask. The gradients of the loss on the training data's labels, by example, give the
masks' Fisher information; its diagonal chooses how many heads and units stay within the FLOPs, its block of each layer
then changes which (section 4.2), and least squares on every fourth batch, layer after layer, scale what stays so that a
layer gives what the dense one gave (section 4.3). Ours is `convert --criterion kfac --allocation global` on 512
training examples, with the share that has as many FLOPs. FLOPs are those of a whole pass over 128 tokens, attention's
own products included.

all-MiniLM-L6-v2 is fine-tuned on each task as for criteria_accuracy.py (a model that stands in WORK/TASK/dense is taken
as it is). Scores go into RESULTS/prune-units.json as soon as they are there; those that stand in the file are not made
again. RESULTS/prune-units.md is written anew, and says where the rival is ahead.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import runs
import torch
from torch import Tensor, nn

import factcli
from factcli.calibration.data import CalibrationOptions, load_examples
from factcli.files.atomic import write_text
from factcli.measuring.counting import count_flops
from factcli.measuring.inputs import make_inputs
from factcli.models.fit import find_fit
from factcli.models.model import find_model

LENGTH, BATCH = 128, 16
WAYS = ("units", "units, not rearranged", "units, not scaled", "kfac")
DAMPING = 1e-2  # of the mean of the diagonal: how firmly scales are held at 1
FURTHEST = 10.0  # scales beyond it are a sign of a system that has no solution: the layer keeps its ones
Entry = dict[str, Any]
Batch = dict[str, Tensor]


@dataclass
class Layer:
    """A matrix that units go into: `matrix` (d, units x width) is its weight, `flops` those of one unit."""

    name: str
    dense: nn.Linear
    units: int
    flops: float

    @property
    def width(self) -> int:
        return self.dense.in_features // self.units


def layers_of(model: nn.Module, length: int = LENGTH) -> list[Layer]:
    """The heads, then the feed-forward units, of each layer of a BERT, in the order in which they run; FLOPs of one
    text of `length` tokens."""
    base: Any = model.base_model
    hidden, heads = model.config.hidden_size, model.config.num_attention_heads
    width, found = hidden // heads, []
    of_head = length * (2 * 4 * hidden * width + 2 * 2 * length * width)
    for number, block in enumerate(base.encoder.layer):
        found.append(Layer(f"layer {number}, heads", block.attention.output.dense, heads, of_head))
        units = block.output.dense.in_features
        found.append(Layer(f"layer {number}, units", block.output.dense, units, length * 2 * 2 * hidden))
    return found


# --- the Fisher information of the masks


def batches(model: nn.Module, name: str, options: CalibrationOptions) -> list[Batch]:
    """Examples of the training data with their labels, of a length a batch."""
    source = find_model(name)
    fit = find_fit(model, source.tokenizer, source.name)  # type: ignore[arg-type]
    examples = sorted(load_examples(options, fit, source.config, labelled=True), key=lambda e: len(e.ids))
    found = []
    for start in range(0, len(examples), BATCH):
        some = examples[start : start + BATCH]
        rows = [{"input_ids": list(e.ids)} | ({"token_type_ids": list(e.types)} if e.types else {}) for e in some]
        found.append(fit.batch(rows) | {"labels": torch.tensor([int(e.label or 0) for e in some])})  # type: ignore[arg-type]
    return found


@contextmanager
def masked(layers: Sequence[Layer], masks: Sequence[Tensor]) -> Iterator[None]:
    """While the body runs what goes into each layer is multiplied by its mask, (units,) or (texts, units)."""

    def hook(layer: Layer, mask: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def multiply(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            wide = mask.repeat_interleave(layer.width, -1)
            return (given[0] * (wide if wide.ndim == 1 else wide.unsqueeze(1)), *given[1:])

        return multiply

    handles = [one.dense.register_forward_pre_hook(hook(one, mask)) for one, mask in zip(layers, masks, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fisher(model: nn.Module, layers: Sequence[Layer], data: Sequence[Batch]) -> list[Tensor]:
    """For each layer the mean of the outer products of its masks' gradients, (units, units) float64: one a text."""
    found = [torch.zeros(one.units, one.units, dtype=torch.float64) for one in layers]
    for batch in data:
        texts = len(batch["labels"])
        masks = [torch.ones(texts, one.units, requires_grad=True) for one in layers]
        with masked(layers, masks):
            loss = texts * model(**batch).loss  # a mean over the batch: the sum has each text's own gradient
        for total, gradient in zip(found, torch.autograd.grad(loss, masks), strict=True):
            total += gradient.double().T @ gradient.double()
    return [total / sum(len(b["labels"]) for b in data) for total in found]


# --- which units stay


def chosen(layers: Sequence[Layer], information: Sequence[Tensor], most: float) -> list[Tensor]:
    """Which units stay, a mask of booleans a layer: by the diagonal of the information, within `most` FLOPs. Of every
    number of heads, with as many feed-forward units as there is room for, the one that loses least is taken."""
    kinds = sorted({one.flops for one in layers})
    of_head, of_unit = kinds[-1], kinds[0]
    scores = {flops: torch.cat([i.diag() for one, i in zip(layers, information, strict=True) if one.flops == flops])
              for flops in kinds}  # fmt: skip
    order = {flops: torch.argsort(values, descending=True, stable=True) for flops, values in scores.items()}
    lost = {f: scores[f].sum() - torch.cat([torch.zeros(1), scores[f][order[f]].cumsum(0)]) for f in kinds}
    best, kept = float("inf"), (0, 0)
    for heads in range(len(order[of_head]) + 1):
        room = most - heads * of_head
        units = min(int(room // of_unit), len(order[of_unit]))
        if room >= 0 and (total := float(lost[of_head][heads] + lost[of_unit][units])) < best:
            best, kept = total, (heads, units)
    stay = {f: torch.zeros(len(order[f]), dtype=torch.bool) for f in kinds}
    for flops, count in zip((of_head, of_unit), kept, strict=True):
        stay[flops][order[flops][:count]] = True
    parts = {f: iter(stay[f].split([one.units for one in layers if one.flops == f])) for f in kinds}
    return [next(parts[one.flops]).clone() for one in layers]


def rearranged(stay: Tensor, information: Tensor) -> Tensor:
    """As many units, chosen by the whole information of their layer: each that is gone is exchanged in turn for the one
    whose absence costs least beside the others that are gone."""
    gone = (~stay).clone()
    together = information @ gone.double()  # of each unit with all that are gone
    for unit in torch.nonzero(gone)[:, 0].tolist():
        gone[unit] = False
        together -= information[:, unit]
        cost = 2 * together + information.diag()
        cost[gone] = float("inf")
        taken = int(cost.argmin())
        gone[taken] = True
        together += information[:, taken]
    return ~gone


# --- how much each of those that stay counts


def scaled(
    model: nn.Module, layers: Sequence[Layer], stay: Sequence[Tensor], data: Sequence[Batch], damping: float = DAMPING
) -> list[Tensor]:
    """Masks with a scale for each unit that stays: layer after layer the least squares that bring what comes out of it,
    with what goes past it, nearest to what the dense model has there, damped towards 1."""
    masks = [mask.float() for mask in stay]
    wanted = [_sums(model, layers, range(len(layers)), None, batch)[0] for batch in data]
    for number in range(len(layers)):
        if bool(stay[number].all()) and all(bool(mask.all()) for mask in stay[:number]):
            continue
        places = torch.nonzero(stay[number])[:, 0]
        gram = torch.zeros(len(places), len(places), dtype=torch.float64)
        right = torch.zeros(len(places), dtype=torch.float64)
        for batch, of_dense in zip(data, wanted, strict=True):
            found, given = _sums(model, layers, [number], masks, batch)
            token = batch["attention_mask"].bool()
            more = _system(layers[number], places, given[number][token], (of_dense[number] - found[number])[token])
            gram, right = gram + more[0], right + more[1]
        gram += damping * gram.diag().mean().clamp_min(1e-12) * torch.eye(len(places), dtype=torch.float64)
        change = torch.linalg.solve(gram, right)
        if len(places) and bool(torch.isfinite(change).all()) and float((1 + change).abs().max()) <= FURTHEST:
            masks[number][places] = (1 + change).float()
    return masks


def _system(layer: Layer, places: Tensor, given: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """The normal equations of one layer's scales: unit i gives h_i W_i of what is `given` (tokens, in), and what is
    `left` over (tokens, d) is what the dense model has after this layer, less what this one has with scales of 1."""
    weight = layer.dense.weight.detach().unflatten(1, (layer.units, layer.width))[:, places]  # (d, k, w)
    h = given.unflatten(1, (layer.units, layer.width))[:, places]  # (tokens, k, w)
    products = torch.einsum("dkw,dlv->kwlv", weight, weight).double()
    gram = (torch.einsum("tkw,tlv->kwlv", h, h).double() * products).sum((1, 3))
    return gram, (torch.einsum("td,dkw->tkw", left, weight) * h).sum((0, 2)).double()


class _Enough(Exception):
    """A forward pass that has come as far as it is looked at."""


def _sums(
    model: nn.Module, layers: Sequence[Layer], numbers: Sequence[int], masks: Sequence[Tensor] | None, batch: Batch
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Of the layers `numbers` what is added up behind them, with what goes past, before it is normalized; and what goes
    in, times its mask."""
    sums: dict[int, Tensor] = {}
    inputs: dict[int, Tensor] = {}
    past: dict[int, Tensor] = {}

    def before(number: int) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            past[number] = given[1]  # of BertSelfOutput and BertOutput: the states, and what goes past them

        return hook

    def behind(number: int) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            inputs[number], sums[number] = given[0], out + past[number]
            if number == numbers[-1]:
                raise _Enough

        return hook

    handles = []
    for number in numbers:
        owner = next(m for m in model.modules() if getattr(m, "dense", None) is layers[number].dense)
        handles += [owner.register_forward_pre_hook(before(number))]
        handles += [layers[number].dense.register_forward_hook(behind(number))]
    whole = [torch.ones(one.units) for one in layers]
    try:
        with torch.no_grad(), masked(layers, whole if masks is None else masks), suppress(_Enough):
            model(**{k: v for k, v in batch.items() if k != "labels"})
    finally:
        for handle in handles:
            handle.remove()
    return sums, inputs


def folded(layers: Sequence[Layer], masks: Sequence[Tensor]) -> None:
    """Multiply the masks into the weights, in place."""
    with torch.no_grad():
        for layer, mask in zip(layers, masks, strict=True):
            layer.dense.weight.mul_(mask.repeat_interleave(layer.width).to(layer.dense.weight))


# --- the benchmark


class Bench:
    """One task: its dense model, what it is pruned by, and the FLOPs of a pass."""

    def __init__(self, task: str, work: Path, results: Path, data_dir: str, samples: int) -> None:
        from criteria_accuracy import Bench as Trained

        trained = Trained(task, work, results, data_dir, "float32")
        self.dense, self.data, self.work = trained.dense(), trained.data, trained.work
        self.calibration: dict[str, Any] = {"calibration": trained.calibration}
        self.calibration |= {"data_dir": data_dir} if trained.calibration == task else {}
        model = find_model(str(self.dense)).load(torch.float32).model
        batch = make_inputs(model, task, 1, LENGTH, 1, torch.device("cpu"))[0]
        self.flops = count_flops(model, batch)
        targets = find_model(str(self.dense)).targets()
        self.of_targets = 2 * LENGTH * sum(target.size for target in targets)
        self.layers = layers_of(model)
        self.model: Any = model.train(False)
        options = CalibrationOptions(trained.calibration, samples, data_dir=self.calibration.get("data_dir"))
        self.batches = batches(model, str(self.dense), options)
        self._fisher: list[Tensor] | None = None

    def keep(self, share: float) -> float:
        """The share of the targets that leaves this share of all FLOPs."""
        return (share * self.flops - (self.flops - self.of_targets)) / self.of_targets

    def pruned(self, share: float, way: str) -> Path:
        """A model with its masks in its weights: what is zero would be left out."""
        self._fisher = self._fisher or fisher(self.model, self.layers, self.batches)
        of_units = sum(one.flops * one.units for one in self.layers)
        stay = chosen(self.layers, self._fisher, share * self.flops - (self.flops - of_units))
        if way != "units, not rearranged":
            stay = [rearranged(mask, block) for mask, block in zip(stay, self._fisher, strict=True)]
        masks = [mask.float() for mask in stay]
        if way != "units, not scaled":
            masks = scaled(self.model, self.layers, stay, self.batches[::4])
        place = self.work / "pruned"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.dense, place)
        model: Any = find_model(str(self.dense)).load(torch.float32).model
        folded(layers_of(model), masks)
        model.save_pretrained(place)
        return place

    def entry(self, share: float | None, way: str) -> Entry:
        """What one way keeps at a share of the FLOPs (None: the dense model)."""
        folder, started = self.dense, time.perf_counter()
        about: Entry = {"way": way, "flops": share}
        if way == "kfac" and share is not None:
            folder, about["keep"] = self.work / "converted", round(self.keep(share), 4)
            factcli.convert(
                str(self.dense), folder, overwrite=True, criterion="kfac", allocation="global", keep=self.keep(share),
                **self.calibration,
            )  # fmt: skip
        elif share is not None:
            folder = self.pruned(share, way)
        about["seconds"] = round(time.perf_counter() - started, 1)
        result = factcli.evaluate(str(folder), **{k: v for k, v in self.data.items() if k != "train"})[0]
        return about | {"accuracy": round(100 * result["metrics"]["accuracy"], 3)}


def table(entries: list[Entry], tasks: list[str]) -> list[str]:
    """A row a share and way: points lost on each task, and their mean."""
    dense = {e["task"]: e["accuracy"] for e in entries if e["way"] == "dense"}
    cells = [f"{dense[t]:.1f}" if t in dense else "" for t in tasks]
    lines = [f"| of the FLOPs | | {' | '.join(tasks)} | mean |", "|---" * (len(tasks) + 3) + "|",
             f"| 1 | dense (accuracy) | {' | '.join(cells)} | |"]  # fmt: skip
    for share in sorted({e["flops"] for e in entries if e["flops"]}, reverse=True):
        for way in WAYS:
            lost = {e["task"]: dense[e["task"]] - e["accuracy"] for e in entries
                    if (e["way"], e["flops"]) == (way, share) and e["task"] in dense}  # fmt: skip
            if lost:
                cells = [f"{lost[t]:+.2f}" if t in lost else "" for t in tasks]
                average = f"{mean(lost.values()):+.2f}" if set(tasks) <= set(lost) else ""
                lines.append(f"| {share:g} | {way} | {' | '.join(cells)} | {average} |")
    return lines


def ahead(entries: list[Entry]) -> list[str]:
    """Where whole units are ahead of factors, or that they are not."""
    found = []
    for e in entries:
        if e["way"] == "units":
            ours = next(
                (o for o in entries if (o["task"], o["flops"], o["way"]) == (e["task"], e["flops"], "kfac")), None
            )
            if ours is not None and e["accuracy"] > ours["accuracy"]:
                found.append(f"{e['task']} at {e['flops']:g} by {e['accuracy'] - ours['accuracy']:.2f} points")
    return [f"Whole units are ahead: {'; '.join(found)}." if found else "Whole units are nowhere ahead of factors."]


def main() -> int:
    """Make what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "reviews"])
    parser.add_argument("--flops", nargs="+", type=float, default=[0.7, 0.5, 0.3])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--work", type=Path, default=Path("build/prune-units"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    parser.add_argument("--commit", help="of factcli, where git is not to be asked")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "prune-units.json"
    for task in arguments.tasks:
        bench: Bench | None = None
        for share, way in [(None, "dense"), *((s, w) for s in arguments.flops for w in arguments.ways)]:
            entries = runs.read(file)
            if any((e["task"], e["flops"], e["way"]) == (task, share, way) for e in entries):
                continue
            bench = bench or Bench(task, arguments.work, arguments.results, arguments.data_dir, arguments.samples)
            entry = {"task": task, "samples": arguments.samples} | bench.entry(share, way)
            runs.say(json.dumps(entry))
            write_text(file, json.dumps([*entries, entry | runs.record(arguments.commit)], indent=1) + "\n")
    entries = runs.read(file)
    samples = ", ".join(sorted({str(e["samples"]) for e in entries if e["way"].startswith("units")}))
    title = ["# Whole heads and units, or factors", "",
             "Points of accuracy lost against the dense all-MiniLM-L6-v2 at equal FLOPs, without training; made by",
             f"`benchmarks/prune_units.py`. Units by the Fisher information of {samples} training examples, scaled on",
             "a quarter of them; factors by 512.", ""]  # fmt: skip
    lines = [*table(entries, arguments.tasks), "", *ahead(entries)]
    write_text(arguments.results / "prune-units.md", "\n".join([*title, *lines]) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
