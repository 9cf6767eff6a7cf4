"""Swap layers of a model, in place, for their factorizations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..calibration.drift import Drift, compensated
from ..calibration.lockstep import Lockstep
from ..models.targets import Lookup, Target, matrix
from ..progress import tell
from ..recipe.factorizing import Recipe
from ..remote_code.embeddings_factorized import FactorizedEmbedding, swap_embedding
from .criteria import criteria
from .measured import Measured
from .norms import FROBENIUS, KroneckerNorm
from .plan import Layer
from .structures import Embedding, structures
from .structures.base import held
from .structures.embedding import part


@dataclass(frozen=True)
class Errors:
    """Relative errors over several targets, each the root of summed squares over summed squares: in the Frobenius norm,
    and in the norms of the criterion."""

    frobenius: float
    own: float


@torch.no_grad()
def factorize(
    model: PreTrainedModel,
    layers: Sequence[Layer],
    recipe: Recipe,
    device: torch.device,
    measured: Measured | None = None,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> Errors:
    """Swap the targets `layers` (all that a plan factorizes, or the ones of a stage of training).

    `measured` has the norms of a criterion that needs data. `dtypes` are the types in which the new layers will be
    saved, by name (the old one's where there is none): factors are rounded to them, and to nothing in between. A bias
    takes up the mean error of the outputs where the norm knows the mean of the inputs. With compensation
    layers are taken in the order in which the model runs them, each for the inputs that those before it now give.
    One matrix at a time is held in float64.
    """
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    measured = measured or Measured(criteria[recipe.criterion].made(recipe))
    swaps = _Swaps(base, recipe, device, measured, dtypes or {})
    waiting = {layer.name: layer for layer in layers}

    def done(layer: Layer) -> None:
        del waiting[layer.name]
        tell(len(layers) - len(waiting), len(layers), "factorizing")

    texts = measured.calibration
    if recipe.compensates and texts is not None and texts.tokenizer is not None:
        linear = [name for name, layer in waiting.items() if layer.structure != Embedding.name]
        with Lockstep(base, texts.tokenizer, texts.texts, linear, device) as steps:
            for layer in [layer for name, layer in waiting.items() if name not in linear]:
                steps.replace_embedding(swaps.swap_embedding(model, layer))
                done(layer)
            for name, drift in steps:
                layer = waiting[name]
                steps.replace(name, swaps.swap(layer, drift))
                done(layer)
    for layer in list(waiting.values()):
        if layer.structure == Embedding.name:
            swaps.swap_embedding(model, layer)
        else:
            swaps.swap(layer)
        done(layer)
    return swaps.errors()


class _Swaps:
    """Factorizes one layer after the other and adds up the errors."""

    def __init__(
        self,
        base: nn.Module,
        recipe: Recipe,
        device: torch.device,
        measured: Measured,
        dtypes: Mapping[str, torch.dtype],
    ) -> None:
        self.base, self.recipe, self.device, self.measured, self.dtypes = base, recipe, device, measured, dtypes
        self.lost = self.total = self.own_lost = self.own_total = 0.0

    def swap(self, layer: Layer, drift: Drift | None = None) -> nn.Module:
        """The new layer, which now stands in the model."""
        structure = structures[layer.structure].made(self.recipe)
        parent, _, leaf = layer.name.rpartition(".")
        owner = self.base.get_submodule(parent)
        module = getattr(owner, leaf)
        weight, bias = matrix(module), module.bias
        dtype = self.dtypes.get(layer.name, weight.dtype)
        w = weight.to(self.device).double()
        target = Target(layer.name, layer.shape, layer.bias)
        norm = fitted = self.measured.norm(target, w)
        aim = w
        if drift is not None:
            fitted = self.measured.norm(target, w, drift)
            aim = compensated(w, drift, layer.bias)
        tensors = structure.project(aim, layer.spec, fitted)
        new = structure.dense(held(held(tensors, dtype), torch.float64))
        difference = new - w
        self.lost += float(torch.linalg.vector_norm(difference)) ** 2
        self.total += float(torch.linalg.vector_norm(w)) ** 2
        if norm is not FROBENIUS:
            self.own_lost += norm.error(difference)
            self.own_total += norm.error(w)
            if bias is not None and isinstance(fitted, KroneckerNorm) and fitted.mean is not None:
                change = _mean_change(w, new, fitted.mean.to(self.device), drift)
                bias = bias.double() + change.to(bias.device)
        swapped = structure.module(layer.to_json(), tensors, bias, dtype, weight.device).train(module.training)
        setattr(owner, leaf, swapped)
        return swapped

    def swap_embedding(self, model: PreTrainedModel, layer: Layer) -> FactorizedEmbedding:
        """The new embedding, which now stands in `model`, with all that shares it."""
        structure, module = Embedding(), self.base.get_submodule(layer.name)
        w = matrix(module).to(self.device)
        dtype = self.dtypes.get(layer.name, w.dtype)
        norm = self.measured.norm(Target(layer.name, layer.shape, False, None, Lookup()))
        assert isinstance(norm, KroneckerNorm)
        tensors = structure.project(w, layer.spec, norm)
        order, start = tensors["place"].long().argsort(), 0
        own = norm is not FROBENIUS
        for vectors in structure.vectors(held(tensors, dtype)):
            tokens = order[start : start + len(vectors)]
            start += len(vectors)
            here, of_tokens = w[:, tokens].double(), part(norm, tokens)
            difference = vectors.mT - here
            self.lost += float(difference.square().sum())
            self.total += float(here.square().sum())
            self.own_lost += of_tokens.error(difference) if own else 0.0
            self.own_total += of_tokens.error(here) if own else 0.0
        swapped = structure.module(layer.to_json(), tensors, None, dtype, matrix(module).device)
        swapped.train(module.training)
        swap_embedding(model, swapped, layer.spec["tied"])
        return swapped

    def errors(self) -> Errors:
        frobenius = (self.lost / self.total) ** 0.5 if self.total else 0.0  # all matrices are zero, and so are the new
        known = self.own_total > 0
        return Errors(frobenius, (self.own_lost / self.own_total) ** 0.5 if known else frobenius)


def _mean_change(w: Tensor, new: Tensor, mean: Tensor, drift: Drift | None) -> Tensor:
    """What the bias takes up: the mean output that is wanted, less that of the new matrix on its inputs."""
    return (w @ mean if drift is None else drift.wanted.to(mean)) - new @ mean
