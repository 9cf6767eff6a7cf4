"""Mixed-rank training: a factorized layer answers now and then with the matrix that it replaces."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compress.plan import Layer
from ..errors import FactcliError
from ..models.loading import load_model
from ..models.model import find_model
from ..models.targets import matrix

Matrices = dict[str, tuple[Tensor, Tensor | None]]  # by target: (m, n) and bias (m,)


class MixedRank:
    """Each of the layers answers a batch with its matrix with probability `share`, else with its factors (Ren and Zhu
    2024, mixed-rank fine-tuning). How the paper anneals could not be read: here linearly, from `start` to 0 at the
    share `until` of the steps, so that the factors stand alone in the end.

    The matrices are frozen and in no state dict: names and checkpoints are those of the factorized model.
    """

    def __init__(self, base: nn.Module, matrices: Matrices, start: float, until: float) -> None:
        self.share, self.start, self.until = start, start, until
        self.modules = [base.get_submodule(name) for name in matrices]
        for module, (weight, bias) in zip(self.modules, matrices.values(), strict=True):
            device = next(module.parameters()).device
            module.forward = self._mixed(
                module, module.forward, weight.to(device), None if bias is None else bias.to(device)
            )

    def anneal(self, step: int, total: int) -> float:
        """Set, and return, the share for the step after `step` of `total`."""
        self.share = self.start * max(0.0, 1 - step / max(1.0, self.until * total))
        return self.share

    def _mixed(
        self, module: nn.Module, factors: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None
    ) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            if not module.training or self.share == 0 or float(torch.rand(())) >= self.share:
                return factors(x)
            # Every parameter has a gradient in every step, which the optimizer of several processes needs.
            nothing = torch.stack([p.sum() for p in module.parameters()]).sum() * 0
            return F.linear(x, weight, bias) + nothing.to(x.dtype)

        return forward

    def detach(self) -> None:
        """Give every layer its own forward back."""
        for module in self.modules:
            module.__dict__.pop("forward", None)


def load_matrices(name: str, layers: list[Layer], trust_remote_code: bool = False) -> Matrices:
    """Matrix and bias of each of the layers in the dense model `name`, float32.

    Raises FactcliError where it has no such layers, or of other shapes.
    """
    source = find_model(name, None, trust_remote_code)
    base: Any = load_model(source).model.base_model
    found: Matrices = {}
    for layer in layers:
        try:
            module = base.get_submodule(layer.name)
        except AttributeError as error:
            raise FactcliError(
                f"--mixed-with {name} has no {layer.name}: take the model that was factorized."
            ) from error
        weight = matrix(module).detach().float().contiguous()
        if tuple(weight.shape) != tuple(layer.shape):
            raise FactcliError(
                f"--mixed-with {name} has {layer.name} as {' x '.join(map(str, weight.shape))}, the factors make "
                f"{' x '.join(map(str, layer.shape))}: take the model that was factorized."
            )
        bias = module.bias
        found[layer.name] = (weight, None if bias is None else bias.detach().float().clone())
    return found


def consistency_loss(a: Tensor, b: Tensor, regression: bool, multi_label: bool = False) -> Tensor:
    """How far two passes through different mixtures disagree, logits (B, K): the mean of both Kullback-Leibler
    divergences (Wu et al. 2021, R-Drop, equation 2), with any number of labels of each label's own distribution and the
    mean over labels; the squared difference for a regression."""
    a, b = a.float(), b.float()
    if regression:
        return F.mse_loss(a, b)
    if multi_label:  # both divergences of two Bernoulli distributions add up to this
        return ((a.sigmoid() - b.sigmoid()) * (a - b)).mean() / 2
    p, q = F.log_softmax(a, -1), F.log_softmax(b, -1)
    both = F.kl_div(p, q, reduction="batchmean", log_target=True) + F.kl_div(
        q, p, reduction="batchmean", log_target=True
    )
    return both / 2
