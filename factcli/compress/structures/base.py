"""What a structure is: what it takes, what it costs, how a matrix is brought into it, and the layer that runs it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ... import remote_code
from ...recipe.registry import Choice
from ...recipe.registry import structures as structures
from ..norms import FROBENIUS, Norm

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ...models.targets import Target

Tensors = dict[str, "Tensor"]  # of a layer, by their names in it, without its bias


class Structure(Choice):
    """What a matrix W (m, n) becomes. Its size is a number of units, its rank; what else there is to say of a layer
    besides is in its spec, a small dict that only the structure and its layer read.

    One that is not `offered` is no --method. `layer_file` is the module of an export that has the layer, and
    `bias_name` where that keeps its bias; `gradual` says that training all of it from the start is known to fail (see
    `training/schedules`).
    """

    paper: ClassVar[str]
    offered: ClassVar[bool] = True
    layer_file: ClassVar[Path] = remote_code.MODELING
    bias_name: ClassVar[str] = "bias"
    gradual: ClassVar[bool] = False

    def check(self, targets: Sequence[Target]) -> None:
        """Raises UsageError where one of the targets cannot become what its options say."""

    def parameters(self, shape: tuple[int, int], rank: int) -> int:
        """Parameters of a factorized (m, n) matrix, without its bias; they never fall with the rank."""
        raise NotImplementedError

    def index_bytes(self, shape: tuple[int, int]) -> int:
        """Bytes of what the layer of an (m, n) matrix holds in integers, beside its parameters."""
        return 0

    def max_rank(self, shape: tuple[int, int]) -> int:
        """The rank at which every (m, n) matrix is represented exactly."""
        return min(shape)

    def break_even(self, shape: tuple[int, int]) -> float:
        """The rank from which on a factorized (m, n) matrix has no fewer parameters than the dense one."""
        ranks = range(1, self.max_rank(shape) + 1)
        return 1 + bisect_left(ranks, shape[0] * shape[1], key=lambda rank: self.parameters(shape, rank))

    def spec(self, rank: int) -> dict[str, Any]:
        """What the plan says of a layer of this rank, and the layer in an export is built from, as its keywords."""
        return {"rank": rank}

    def gains(self, w: Tensor, norm: Norm = FROBENIUS) -> Tensor:
        """What each unit of rank takes off the error of `w` (m, n), float64: (max_rank,), none of them below zero."""
        raise NotImplementedError

    def project(self, w: Tensor, spec: Mapping[str, Any], norm: Norm = FROBENIUS) -> Tensors:
        """The tensors of the layer nearest to `w` (m, n), float64, in `norm`; of like size, so that they train."""
        raise NotImplementedError

    def dense(self, tensors: Tensors) -> Tensor:
        """The matrix (m, n) that the tensors stand for, in their precision."""
        raise NotImplementedError

    def even(self, tensors: Tensors) -> Tensors:
        """Tensors of another layer with the same matrix, float64, that 8 bits change less: what it has between two
        products is of like size throughout. As they are, where there is no such choice."""
        return tensors

    def module(
        self, entry: dict[str, Any], tensors: Tensors, bias: Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> nn.Module:
        """The layer that an export would build for the `entry` of a plan, with these tensors."""
        import torch

        from ...remote_code.modeling_factorized import build_layer

        remote_code.module(self.layer_file)  # which tells that one of its layers
        with torch.device("meta"):
            layer = build_layer(entry)
        more = {} if bias is None else {self.bias_name: bias.to(dtype)}
        self.fill(layer, tensors | more, dtype, device)
        return layer

    def fill(self, layer: nn.Module, tensors: Tensors, dtype: torch.dtype, device: torch.device) -> None:
        """Gives a layer its tensors."""
        import torch

        state = {name: t.to(device).contiguous().clone() for name, t in held(tensors, dtype).items()}
        state["weight"] = torch.zeros(1, dtype=dtype, device=device)  # see FactorizedLinear
        layer.load_state_dict(state, assign=True)


def held(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """The tensors as a layer of this dtype holds them; those of integers stay as they are."""
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
