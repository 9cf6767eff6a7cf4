"""Embedding: low-rank with a rank for each group of tokens of like frequency, the most frequent ones dense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..norms import FROBENIUS, KroneckerNorm, Norm
from .base import Structure, Tensors, structures

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...remote_code.modeling_factorized import FactorizedEmbedding

CHUNK = 8192  # vectors that are held in float64 at a time


@structures.register
class Embedding(Structure):
    """Of an embedding (d, tokens), whose inputs are one-hot: C = diag(f), so that every norm with an input side has its
    closed form, group by group, about the mean vector of the group. It is no --method: targets that are embeddings
    become it, whatever the others do.
    """

    name = "embedding"
    title = "Low-rank embeddings by token frequency"
    offered = False
    paper = "Chen et al. 2018, GroupReduce: Block-Wise Low-Rank Approximation for Neural Language Model Shrinking"

    def parameters(self, shape: tuple[int, int], rank: int) -> int:
        """Of a group of tokens; without its mean and its row of zeros (see `fixed`)."""
        return rank * sum(shape)

    def fixed(self, size: int, groups: int) -> int:
        """The most that an embedding of vectors of this size has besides, of groups in number."""
        return 2 * groups * size

    def all_parameters(self, shape: tuple[int, int], spec: Mapping[str, Any]) -> int:
        """Of the whole layer."""
        d, groups = shape[0], list(zip(spec["sizes"], spec["ranks"], strict=True))
        found: int = sum((n + 1) * r + (r * d if r < d else 0) for n, r in groups) + d * len(groups)
        return found

    def index_bytes(self, shape: tuple[int, int]) -> int:
        return 4 * shape[1]

    def break_even(self, shape: tuple[int, int]) -> float:
        return shape[0] * shape[1] / sum(shape)

    def gains(self, w: Tensor, norm: Norm = FROBENIUS) -> Tensor:
        """Of a group of tokens `w` (d, n), in its part of the norm."""
        import torch

        a, _, _, _ = _moment(w.mT, norm)
        found: Tensor = torch.linalg.eigvalsh(a).flip(-1).clamp_min(0)[: min(w.shape)]
        return found

    def project(self, w: Tensor, spec: Mapping[str, Any], norm: Norm = FROBENIUS) -> Tensors:
        import torch

        from ..linalg import balance

        assert isinstance(norm, KroneckerNorm)
        vectors, order = w.mT, by_frequency(norm, w)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        tensors: Tensors = {"place": place.int()}
        means, start = [], 0
        for i, (size, rank) in enumerate(zip(spec["sizes"], spec["ranks"], strict=True)):
            group = order[start : start + size]
            start += size
            rows = vectors[group]
            if rank < w.shape[0]:
                a, mean, low, inverse = _moment(rows, part(norm, group))
                u = torch.linalg.eigh(a).eigenvectors[:, -rank:]
                left = u if inverse is None else inverse @ u  # (d, r)
                onto = u if low is None else low @ u  # L^-1 G = L^T
                right = torch.cat([(c.double() - mean) @ onto for c in torch.split(rows, CHUNK)])
                left, right = balance(left, right.mT)
                rows, tensors[f"factors.{i}.weight"] = right.mT, left
                means.append(mean)
            else:
                means.append(torch.zeros(w.shape[0], dtype=torch.float64, device=w.device))
            tensors[f"rows.{i}.weight"] = torch.cat([rows.new_zeros(1, rows.shape[1]), rows])
        return tensors | {"mean.weight": torch.stack(means)}

    def dense(self, tensors: Tensors) -> Tensor:
        import torch

        found = torch.cat(list(self.vectors(tensors)))
        return found[tensors["place"].long()].mT

    def vectors(self, tensors: Tensors) -> Iterator[Tensor]:
        """Those of each group (n, d), in the order of `place`."""
        for i, mean in enumerate(tensors["mean.weight"]):
            rows, factor = tensors[f"rows.{i}.weight"][1:], tensors.get(f"factors.{i}.weight")
            yield (rows if factor is None else rows @ factor.mT) + mean

    def module(
        self, entry: dict[str, Any], tensors: Tensors, bias: Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> FactorizedEmbedding:
        import torch

        from ...remote_code.modeling_factorized import build_embedding

        with torch.device("meta"):
            layer = build_embedding(entry)
        self.fill(layer, tensors, dtype, device)
        return layer


def by_frequency(norm: Norm, w: Tensor) -> Tensor:
    """The tokens of an embedding `w` (d, tokens), the most frequent first; as they are where the norm knows none."""
    import torch

    f = norm.input if isinstance(norm, KroneckerNorm) else None
    if f is None:
        return torch.arange(w.shape[1], device=w.device)
    return f.to(w.device).argsort(descending=True, stable=True)


def part(norm: Norm, group: Tensor) -> KroneckerNorm:
    """The norm of a group of tokens, by their numbers."""
    assert isinstance(norm, KroneckerNorm)
    return KroneckerNorm(norm.output, None if norm.input is None else norm.input.to(group.device)[group])


def _moment(rows: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Of vectors `rows` (n, d): L^T (sum of f (e - mean) (e - mean)^T) L (d, d), their mean (d,), L and L^-T, with
    G = L L^T; float64."""
    import torch

    from .kronecker import ridged, root

    assert isinstance(norm, KroneckerNorm)
    n, d = rows.shape
    f = torch.ones(n, dtype=torch.float64) if norm.input is None else norm.input.double()
    f = f.to(rows.device)
    total = torch.zeros(d, d, dtype=torch.float64, device=rows.device)
    mean = torch.zeros(d, dtype=torch.float64, device=rows.device)
    for chunk, weight in zip(torch.split(rows, CHUNK), torch.split(f, CHUNK), strict=True):
        mean += weight @ chunk.double()
    mean /= f.sum()
    for chunk, weight in zip(torch.split(rows, CHUNK), torch.split(f, CHUNK), strict=True):
        moved = chunk.double() - mean
        total += (moved * weight.unsqueeze(-1)).mT @ moved
    if norm.output is None:
        return total, mean, None, None
    low, inverse = root(ridged(norm.output.to(total)))
    return low.mT @ total @ low, mean, low, inverse
