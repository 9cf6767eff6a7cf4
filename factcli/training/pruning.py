"""Pruning during training: the targets lose entries along a schedule, by movement, sensitivity or magnitude."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UsageError
from ..recipe.training import Prune

FILE = "pruning.safetensors"  # in a checkpoint


def check_sizes(how: Prune, sizes: list[int]) -> None:
    """Raises UsageError where a matrix of so many entries would be left empty."""
    if not sizes:
        raise UsageError("--prune has nothing to prune: every target that was asked for shares its weight.")
    assert how.density is not None
    least = min(sizes) if how.prune_scope == "matrix" else sum(sizes) // len(sizes)
    if round(how.density * least) < 1:
        raise UsageError(f"--density {how.density} leaves nothing of {least} entries: take a higher one.")


def density_at(how: Prune, step: int, total: int) -> float:
    """The density after `step` of `total` steps: cubic, from 1 to the final one (Zhu and Gupta 2017, section 3)."""
    assert how.density is not None
    first, last = how.prune_warmup * total, (1 - how.prune_cooldown) * total
    left = min(1.0, max(0.0, (last - step) / max(last - first, 1e-9)))
    return how.density + (1 - how.density) * left**3


class Pruner:
    """Keeps the entries of `weights` (by target name, changed in place) that their scores rank highest; the others are
    zero, and their gradients too.

    Movement: the score sums -w dL/dw over the steps, so that what training moves away from zero stays, and dL/dw of a
    pruned entry, with the value that it had, may bring it back (Sanh et al. 2020, section 4). It needs many steps: over
    few the sum is mostly noise. Taylor: the score sums |w dL/dw|, how much the loss depends on the entry to first order
    (Molchanov et al. 2017, equation 6, for single entries), which holds from the first steps on. Magnitude: |w|.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], how: Prune) -> None:
        self.weights, self.how = dict(weights), how
        self.masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in self.weights.items()}
        self.pruned = {n: torch.zeros_like(w) for n, w in self.weights.items()}  # the values they had
        self.scores = {n: torch.zeros_like(w) for n, w in self.weights.items()}

    @torch.no_grad()
    def before_step(self) -> None:
        """After the backward pass: add to the scores, take the gradients from what is pruned."""
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            if self.how.prune != "magnitude":
                change = (weight + self.pruned[name]) * weight.grad
                self.scores[name] += change.abs() if self.how.prune == "taylor" else -change
            weight.grad.mul_(self.masks[name])

    @torch.no_grad()
    def after_step(self, step: int, total: int) -> float:
        """After the optimizer's step number `step`: prune to the density of the schedule, which is returned."""
        for name, weight in self.weights.items():  # momentum moves pruned entries too
            weight.mul_(self.masks[name])
        density = density_at(self.how, step, total)
        scores = {n: self._score(n) for n in self.weights}
        if self.how.prune_scope == "global":
            every = torch.cat([_with_its_best(s.flatten()) for s in scores.values()])
            kept = highest(every, round(density * every.numel()))
            parts = torch.split(kept, [s.numel() for s in scores.values()])
            masks = {n: part.view_as(scores[n]) for n, part in zip(scores, parts, strict=True)}
        else:
            masks = {n: highest(s.flatten(), round(density * s.numel())).view_as(s) for n, s in scores.items()}
        for name, mask in masks.items():
            self._set(name, mask)
        return density

    def _score(self, name: str) -> Tensor:
        if self.how.prune != "magnitude":
            return self.scores[name]
        return (self.weights[name] + self.pruned[name]).abs()

    def _set(self, name: str, mask: Tensor) -> None:
        weight, pruned = self.weights[name], self.pruned[name]
        whole = weight + pruned
        weight.copy_(whole * mask)
        pruned.copy_(whole * ~mask)
        self.masks[name] = mask

    def save(self, folder: Path) -> None:
        """What a run that is resumed needs beside the weights."""
        tensors = {f"pruned.{n}": t for n, t in self.pruned.items()} | {
            f"scores.{n}": t for n, t in self.scores.items()
        }
        tensors |= {f"masks.{n}": t.to(torch.uint8) for n, t in self.masks.items()}
        save_file({k: t.contiguous().cpu() for k, t in tensors.items()}, folder / FILE)

    def load(self, folder: Path) -> None:
        tensors = load_file(folder / FILE)
        for name, weight in self.weights.items():
            self.pruned[name].copy_(tensors[f"pruned.{name}"])
            self.scores[name].copy_(tensors[f"scores.{name}"])
            self.masks[name] = tensors[f"masks.{name}"].bool().to(weight.device)


def _with_its_best(scores: Tensor) -> Tensor:
    """Scores (N,) whose best entry stays whatever others have: an empty matrix could not be trained any more."""
    return scores.index_fill(0, scores.argmax(), torch.inf)


def highest(scores: Tensor, count: int) -> Tensor:
    """A mask of the `count` highest of the scores (N,); of equal ones the first."""
    if count >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(scores.numel() - count).values  # the highest that goes
    mask = scores > threshold
    missing = count - int(mask.sum())
    if missing:
        mask[torch.nonzero(scores == threshold)[:missing, 0]] = True
    return mask
