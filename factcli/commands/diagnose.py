"""diagnose: how compressible a model is, layer by layer, and whether plain SVD will fail."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..calibration.gather import Calibration
from ..calibration.measure import calibrate, options_of
from ..calibration.statistics import Kind
from ..compress.allocations import allocations
from ..compress.criteria import criteria
from ..compress.measured import Measured
from ..compress.structures.projection import gains, project
from ..errors import FactcliError
from ..models.devices import pick_device
from ..models.loading import load_model
from ..models.model import find_model
from ..models.targets import Target, find_targets, matrix
from ..progress import steps
from ..recipe import running
from ..recipe.commands import DIAGNOSE, Asked, answers
from ..recipe.effects import OF_DATA
from ..recipe.factorizing import Examined
from ..recipe.rules import Rule, refuse_idle, unless
from .unchanged import unchanged

KEEPS = (0.1, 0.25, 0.4, 0.6)
POINTS = 24  # ranks at which errors are given, besides those of KEEPS
UNEVEN = 1.0  # a Fisher variance from which on plain SVD is at risk: the spread is as large as the mean
TIMES = 2.0  # how much worse plain SVD is than a data-aware projection before it is called a risk, or too much
RULES = (
    Rule(
        ("calibration_samples", "fisher", "objective"),
        lambda v: unless(v["calibration"] is not None, "without --calibration"),
        "name data to calibrate on",
    ),
    *OF_DATA,
)


@answers(DIAGNOSE)
@unchanged()
@torch.no_grad()
def diagnose(asked: Asked) -> dict[str, Any]:
    """Spectra and errors of every target of `model`, under every criterion (only those that need no data without
    `calibration`; its options are those of `convert`).

    Returns:
        With "model", "verdict", "calibration" and "layers". A layer has "name", "shape", "singular_values" (largest
        first), "rank" (see numerical_rank), "rank_90" (how many hold 90 % of the squared sum), "ranks" and "errors":
        for every criterion the relative error at these ranks, the root of what is left over what there is, in its own
        norm; where that has no spectrum, in the norm with its sums over rows and over columns. With calibration also
        "svd_errors", those of plain SVD in the norm of the criterion that it is compared with, at the same keep ratios
        ("keeps"), "times" (how many times that one's errors they are, at 0.25), "fisher_variance" and "advice".
        "compared" are plain SVD's criterion and that one: the first whose errors are exact and in units of the loss.

        "fisher_variance" is phi = Var(I) / Mean(I)^2 of the Fisher information I, entry by entry: the measure that
        predicts where plain SVD fails (Hua et al. 2022; the formula is ours, after its description), zero where all
        weights matter alike.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right.
    """
    how, origin = asked.of(Examined), asked.of(running.Source)
    data_dir, plot = asked.of(running.DataDir).data_dir, asked.of(running.Drawn).plot
    refuse_idle(RULES, vars(how) | {"data_dir": data_dir}, asked.values.keys())
    where = pick_device(asked.of(running.Device).device)
    if plot is not None:
        from ..measuring.plots import check_plot

        check_plot(Path(plot))
    source = find_model(asked.of(running.Model).model, origin.revision, origin.trust_remote_code)
    loaded = load_model(source)
    gathered: Calibration | None = None
    if how.calibration is not None:
        with torch.enable_grad():
            gathered = calibrate(
                source, loaded, options_of(how, data_dir), frozenset(Kind), how.include, how.exclude, device=where,
            )  # fmt: skip
    measured = [Measured(criteria[n].made(how), gathered) for n in criteria if gathered or not criteria[n].needs]
    reference = next((m for m in measured if m.criterion.comparable and m.criterion.exact), None)
    base = loaded.model.base_model
    layers: list[dict[str, Any]] = []
    losses: list[_Loss] = []
    targets = [t for t in find_targets(base, how.include, how.exclude) if t.kept is None]
    if not targets:
        raise FactcliError(
            f"Every target of {source.name} that was asked for shares its weight with another module, and none of "
            "these is factorized: take others with --include."
        )
    for target in steps("examining", targets):
        w = matrix(base.get_submodule(target.name)).detach().to(where).double()
        layer, loss = _examine(target, w, measured, reference)
        layers.append(layer)
        losses += [loss] if loss is not None else []
    result: dict[str, Any] = {
        "model": source.name,
        "verdict": _verdict(layers, losses, reference),
        "calibration": measured[0].to_json(),
        "compared": [m.criterion.name for m in (measured[0], reference) if m],
        "layers": layers,
    }
    if gathered and gathered.warnings:
        result["notes"] = gathered.warnings
    if plot is not None:
        from ..measuring.plots import plot_errors

        try:
            plot_errors(result, Path(plot))
        except FactcliError as error:  # what was found is not lost for it
            result.setdefault("notes", []).append(str(error))
    return result


def numerical_rank(values: Tensor, shape: tuple[int, int]) -> int:
    """Singular values (descending) above the largest times max(m, n) times the precision of float32, in which weights
    are stored: below it a rank is rounding."""
    return int((values > values[0] * max(shape) * torch.finfo(torch.float32).eps).sum())


@dataclass(frozen=True)
class _Loss:
    """What a target costs, in units of the loss: `plain`, by plain SVD at a keep ratio of 0.25; `worth` (ranks,), what
    each rank of the projection it is compared with takes off that; `price` is the parameters of a rank."""

    plain: float
    worth: Tensor
    price: int
    size: int


def _times_the_loss(losses: list[_Loss]) -> float:
    """What plain SVD costs at a keep ratio of 0.25, over the projections that it is compared with, whose ranks are
    spread over all targets by what they are worth for a parameter."""
    each = torch.cat([one.worth / one.price for one in losses])
    prices = torch.cat([torch.full_like(one.worth, one.price) for one in losses])
    order = each.argsort(descending=True)
    over = prices[order].cumsum(0) > 0.25 * sum(one.size for one in losses)
    least = float((each * prices)[order][over].sum())
    return sum(one.plain for one in losses) / max(least, 1e-300)


def _examine(
    target: Target, w: Tensor, measured: list[Measured], reference: Measured | None
) -> tuple[dict[str, Any], _Loss | None]:
    """The layer as the result has it, and with a reference what it costs."""
    full = min(target.shape)
    keeps = [max(1, int(k * target.size / sum(target.shape))) for k in KEEPS]
    ranks = sorted({*keeps, *(max(1, round(full * i / POINTS)) for i in range(1, POINTS + 1))})
    values = torch.linalg.svdvals(w)
    energy = values.square().cumsum(0)
    worth = {m.criterion.name: gains(w, None, 1, m.norm(target, w)) for m in measured if m.criterion.applies(w)}
    layer: dict[str, Any] = {
        "name": target.name,
        "shape": list(target.shape),
        "singular_values": [round(v, 6) for v in values.tolist()],
        "rank": numerical_rank(values, target.shape),
        "rank_90": int((energy < 0.9 * energy[-1]).sum()) + 1,
        "ranks": ranks,
        "errors": {name: _curve(each, ranks) for name, each in worth.items()},
        "keeps": {str(k): r for k, r in zip(KEEPS, keeps, strict=True)},
    }
    loss = None
    if reference is not None:
        assert reference.calibration is not None
        weights = reference.calibration.statistics[target.name].fisher
        assert weights is not None
        spread = weights.double().var(unbiased=False) / weights.double().mean().square().clamp_min(1e-300)
        layer["fisher_variance"] = round(float(spread), 3)
        norm = reference.norm(target, w)
        total = norm.error(w) or 1.0
        plain = [left[0, 0] @ right[0, 0] for left, right in (project(w, None, rank, 1) for rank in keeps)]
        errors = [norm.error(w - new) for new in plain]
        layer["svd_errors"] = [round((error / total) ** 0.5, 6) for error in errors]
        least = worth[reference.criterion.name].double()
        loss = _Loss(errors[KEEPS.index(0.25)], least, sum(w.shape), w.numel())
        layer["times"] = round(_times_worse(layer, reference), 3)
    layer["advice"] = _advice(layer, reference)
    return layer, loss


def _curve(worth: Tensor, ranks: list[int]) -> list[float]:
    left = worth.flip(0).cumsum(0).flip(0)
    total = float(left[0]) or 1.0
    return [round((float(left[r]) / total) ** 0.5 if r < len(left) else 0.0, 6) for r in ranks]


def _times_worse(layer: dict[str, Any], reference: Measured) -> float:
    """The error of plain SVD over that of the reference, both in its norm, at a keep ratio of 0.25."""
    least = layer["errors"][reference.criterion.name][layer["ranks"].index(layer["keeps"]["0.25"])]
    return float(layer["svd_errors"][KEEPS.index(0.25)] / max(least, 1e-9))


def _advice(layer: dict[str, Any], reference: Measured | None) -> str:
    full, needed = min(layer["shape"]), layer["rank_90"]
    share = f"{needed} of {full} singular values hold 90 %"
    if reference is None:
        return f"{share}: " + ("plain SVD has a chance" if needed < 0.25 * full else "near full rank for plain SVD")
    times, name = layer["times"], reference.criterion.name
    if times < TIMES:
        return f"{share}: plain SVD is nearly as good as {name}"
    uneven = ", its weights matter very unevenly" if layer["fisher_variance"] > UNEVEN else ""
    return f"{share}{uneven}: plain SVD loses {times:.1f} times as much as {name}"


def _verdict(layers: list[dict[str, Any]], losses: list[_Loss], reference: Measured | None) -> str:
    if reference is None:
        share = median(layer["rank_90"] / min(layer["shape"]) for layer in layers)
        return (
            f"The median target needs {share:.0%} of its singular values for 90 % of its energy; what that loses, "
            "--calibration tells."
        )
    risk, times = sum(layer["times"] >= TIMES for layer in layers), _times_the_loss(losses)
    name, unequal = reference.criterion.name, next(a for a in allocations if allocations[a].needs_gains)
    costs = f"it costs {times:.1f} times the loss of --criterion {name} --allocation {unequal}"
    if times < TIMES:
        return f"Plain SVD will do here: at a keep ratio of 0.25 {costs}; {risk} of {len(layers)} targets are at risk."
    return (
        f"Plain SVD loses more than it must: at a keep ratio of 0.25 {costs}, which you should take; {risk} of "
        f"{len(layers)} targets are at risk by themselves."
    )
