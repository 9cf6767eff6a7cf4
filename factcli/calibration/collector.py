"""Hooks that gather statistics of linear layers while batches run forward and backward."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import FactcliError
from ..models.embeddings import scale
from .statistics import Kind, Statistics
from .sums import Fold, Gram, centre, column_sums, fold_width


@dataclass(eq=False)
class _Inputs:
    """Sums over tokens, and over folds of them; layers that read the same tensor (query, key and value) share one."""

    shift: Tensor
    total: Tensor
    second: Gram
    along: Tensor
    weight: float = 0.0
    tokens: int = 0

    @classmethod
    def like(cls, tokens: Tensor) -> "_Inputs":
        """Empty; about a mean of the first batch the second moment loses no digits to outlying features."""
        zeros = torch.zeros(tokens.shape[-1], dtype=torch.float64, device=tokens.device)
        return cls(tokens.mean(0), zeros, Gram(len(zeros), zeros.device), zeros.clone())

    def add(self, x: Tensor, fold: Fold) -> None:
        """`x` (B, T, n)."""
        rows, total = fold(x, self.shift)
        self.total += total
        self.second.add(rows)
        self.along += column_sums(fold.own * rows)
        self.weight += float(fold.own.double().square().sum())
        self.tokens += fold.count


@dataclass(eq=False)
class _Layer:
    inputs: _Inputs | None = None
    gradients: Gram | None = None
    fisher: Tensor | None = None
    tokens: int = 0
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    reached: bool = False
    calls: int = 0


def as_tokens(x: Tensor, mask: Tensor) -> Tensor | None:
    """The inputs of a layer as (B, T, n), for a mask (B, T); None where they do not belong to tokens."""
    if x.shape[:-1] == mask.shape:
        return x
    return x.view(*mask.shape, -1) if x.ndim == 2 and len(x) == mask.numel() else None


class Collector:
    """Statistics of the layers `modules` (by target name), as they see batches; memory does not grow with their number.

    Use: `with collector:`, and for each batch `collector.start(mask, signs)`, forward, and backward where gradients are
    needed. Only positions where `mask` is 1 count. Calls whose input has not the shape of the mask (relative position
    embeddings) do not belong to tokens and are left out. Of an embedding (`modules` has the lookups that share its
    matrix under its name) gradients are gathered alone.

    Sums are kept in float32 for a batch and in float64 over batches, so that their sizes hardly matter. Where there are
    more `tokens` than second moments need, these are of folds (see `sums.Fold`); means are of all tokens.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        kinds: Iterable[Kind],
        lookups: Mapping[str, Sequence[nn.Module]] | None = None,
        tokens: int = 0,
    ) -> None:
        self.kinds = frozenset(kinds)
        self.modules, self.lookups = modules, lookups or {}
        self.layers = {name: _Layer() for name in (*modules, *self.lookups)}
        self.examples, self.expected = 0, tokens
        self._mask = self._signs = torch.empty(0)
        self._whole = False
        self._folds: dict[int, Fold] = {}
        self._seen: dict[int, tuple[Tensor, _Inputs]] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "Collector":
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        for name, modules in self.lookups.items():
            self._handles += [module.register_forward_hook(self._lookup_hook(name)) for module in modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def start(self, mask: Tensor, signs: Tensor) -> None:
        """Before each batch: `mask` (B, T) is 1 where there is a token, `signs` are random (see `sums.Fold`)."""
        self._mask, self._signs, self._folds = mask.bool(), signs, {}
        self._whole = bool(self._mask.all())
        self._seen = {}
        self.examples += len(mask)

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            x = as_tokens(args[0], self._mask)
            if x is None:
                return
            if output.ndim == 2:
                output = output.view(*self._mask.shape, -1)
            layer = self.layers[name]
            layer.reached = True
            _check(self._tokens(x).sum(), name, "inputs")
            if Kind.INPUTS in self.kinds:
                self._add_inputs(layer, x.detach())
            if self.kinds & {Kind.GRADIENTS, Kind.FISHER} and output.requires_grad:
                layer.calls += 1
                kept = x.detach() if Kind.FISHER in self.kinds else x.new_empty(0)
                output.register_hook(lambda g: self._add_gradient(layer, kept, g.detach()))  # type: ignore[no-untyped-call]

        return hook

    def _lookup_hook(self, name: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            layer, times = self.layers[name], scale(module)
            if args[0].shape == self._mask.shape and output.requires_grad:
                layer.calls += 1
                output.register_hook(lambda g: self._add_gradient(layer, g.new_empty(0), times * g.detach()))  # type: ignore[no-untyped-call]

        return hook

    def _fold(self, x: Tensor) -> Fold:
        width = fold_width(self.expected, x.shape[-1])
        if width not in self._folds:
            self._folds[width] = Fold(self._signs, width)
        return self._folds[width]

    def _tokens(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1]) if self._whole else x[self._mask]

    def _add_inputs(self, layer: _Layer, x: Tensor) -> None:
        key = x.data_ptr()
        seen = self._seen.get(key)
        if seen is not None and seen[0].shape == x.shape and (layer.inputs is None or layer.inputs is seen[1]):
            layer.inputs = seen[1]
            return
        sums = layer.inputs
        if sums is None:
            sums = layer.inputs = _Inputs.like(self._tokens(x).float())
        self._seen[key] = (x, sums)
        sums.add(x.float(), self._fold(x))

    def _add_gradient(self, layer: _Layer, x: Tensor, g: Tensor) -> None:
        layer.calls -= 1
        if g.ndim == 2:
            g = g.view(*self._mask.shape, -1)
        if Kind.GRADIENTS in self.kinds:
            if layer.gradients is None:
                layer.gradients = Gram(g.shape[-1], g.device)
            fold = self._fold(g)
            layer.gradients.add(fold.rows(g.float()))
            layer.tokens += fold.count
        if Kind.FISHER in self.kinds and x.numel():
            layer.waiting.append((x, g))
            if layer.calls == 0:  # a layer that runs more than once has one gradient an example, the sum of its calls'
                self._add_fisher(layer)

    def _add_fisher(self, layer: _Layer) -> None:
        (x, g), *more = layer.waiting
        if layer.fisher is None:
            layer.fisher = torch.zeros(g.shape[-1], x.shape[-1], dtype=torch.float32, device=g.device)
        for row, mask in enumerate(self._mask):
            gradient = g[row, mask].float().T @ x[row, mask].float()
            for x2, g2 in more:
                gradient += g2[row, mask].float().T @ x2[row, mask].float()
            layer.fisher.addcmul_(gradient, gradient)
        layer.waiting.clear()

    def finish(self) -> dict[str, Statistics]:
        """The statistics by target; layers that read the same inputs share their tensors.

        Raises FactcliError naming the first layer that saw no token, or values that are not finite.
        """
        moments: dict[int, tuple[Tensor, Tensor]] = {}
        return {name: self._finish(name, layer, moments) for name, layer in self.layers.items()}

    def _finish(self, name: str, layer: _Layer, moments: dict[int, tuple[Tensor, Tensor]]) -> Statistics:
        mean = covariance = gradients = fisher = None
        tokens = layer.tokens
        if not (layer.reached or name in self.lookups):  # whatever was asked for: it has no gradients for that reason
            raise FactcliError(f"No token of the calibration data reaches {name}: leave it out with --exclude.")
        if layer.inputs is not None:
            if id(layer.inputs) not in moments:
                moments[id(layer.inputs)] = _moments(layer.inputs, name)
            mean, covariance = moments[id(layer.inputs)]
            tokens = layer.inputs.tokens
        if Kind.GRADIENTS in self.kinds:
            gradients = _checked(layer.gradients.whole() if layer.gradients is not None else None, self.examples, name)
        if Kind.FISHER in self.kinds and name not in self.lookups:
            fisher = _checked(layer.fisher, self.examples, name)
        return Statistics(tokens, mean, covariance, gradients, fisher)


def _moments(sums: _Inputs, name: str) -> tuple[Tensor, Tensor]:
    """Mean and covariance, float32."""
    offset = sums.total / sums.tokens
    about = centre(sums.second.whole(), offset, offset, (sums.along, sums.along), sums.weight)
    covariance = (about / sums.tokens).float()
    _check(covariance, name, "inputs")  # their squares may overflow where they do not
    return (offset + sums.shift).float(), covariance


def _checked(total: Tensor | None, examples: int, name: str) -> Tensor:
    """The mean over the examples, float32."""
    if total is None:
        raise FactcliError(f"The loss does not depend on {name}: leave it out with --exclude.")
    mean = (total / examples).float()
    _check(mean, name, "gradients")
    return mean


def _check(values: Tensor, name: str, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise FactcliError(
            f"The {what} of {name} are not finite on the calibration data: the model overflows; check its weights, or "
            "leave the layer out with --exclude."
        )
