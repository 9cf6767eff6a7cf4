"""Embedding: low-rank with a rank for each group of tokens of like frequency, the most frequent ones dense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..norms import FROBENIUS, KroneckerNorm, Norm
from .base import Structure, Tensors, structures

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...remote_code.embeddings_factorized import FactorizedEmbedding

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

        a, _, _, _ = _moment(w.mT, torch.arange(w.shape[1], device=w.device), norm)
        found: Tensor = torch.linalg.eigvalsh(a).flip(-1).clamp_min(0)[: min(w.shape)]
        return found

    def project(self, w: Tensor, spec: Mapping[str, Any], norm: Norm = FROBENIUS) -> Tensors:
        """Rows are in the precision of `w`, the rest in float64."""
        import torch

        vectors, order = w.mT, by_frequency(norm, w)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        tensors: Tensors = {"place": place.int()}
        means, start = [], 0
        for i, (size, rank) in enumerate(zip(spec["sizes"], spec["ranks"], strict=True)):
            group = order[start : start + size]
            start += size
            rows = vectors.new_zeros(size + 1, rank)
            if rank < w.shape[0]:
                factor, onto, mean = _factor(vectors, group, rank, part(norm, group))
                tensors[f"factors.{i}.weight"] = factor
                means.append(mean)
                for at, chunk in _chunks(vectors, group):
                    rows[at + 1 : at + 1 + len(chunk)] = (chunk - mean) @ onto
            else:
                means.append(torch.zeros(w.shape[0], dtype=torch.float64, device=w.device))
                rows[1:] = vectors[group]
            tensors[f"rows.{i}.weight"] = rows
        return tensors | {"mean.weight": torch.stack(means)}

    def dense(self, tensors: Tensors) -> Tensor:
        import torch

        found = torch.cat(list(self.vectors(tensors))).to(tensors["mean.weight"].dtype)
        return found[tensors["place"].long()].mT

    def even(self, tensors: Tensors) -> Tensors:
        import torch

        from ..linalg import hartley

        found = dict(tensors)
        for name in (n for n in tensors if n.startswith("factors.")):
            factor, rows = tensors[name].double(), name.replace("factors", "rows")
            turn = hartley(factor.shape[1]).to(factor.device)
            found |= {name: factor @ turn.mT, rows: torch.cat([
                (part.double() @ turn.mT).to(part.dtype) for part in torch.split(tensors[rows], CHUNK)
            ])}  # fmt: skip
        return found

    def vectors(self, tensors: Tensors) -> Iterator[Tensor]:
        """All vectors in the order of `place`, some at a time: (n, d), float64."""
        import torch

        for i, mean in enumerate(tensors["mean.weight"].double()):
            factor = tensors.get(f"factors.{i}.weight")
            for rows in torch.split(tensors[f"rows.{i}.weight"][1:], CHUNK):
                yield (rows.double() if factor is None else rows.double() @ factor.double().mT) + mean

    def module(
        self, entry: dict[str, Any], tensors: Tensors, bias: Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> FactorizedEmbedding:
        import torch

        from ...remote_code.embeddings_factorized import build_embedding

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


def _chunks(vectors: Tensor, group: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The vectors of a group, some at a time in float64, each with where it starts."""
    import torch

    for i, tokens in enumerate(torch.split(group, CHUNK)):
        yield i * CHUNK, vectors[tokens].double()


def _factor(vectors: Tensor, group: Tensor, rank: int, norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """For the vectors e of a group the factor (d, r), what (e - mean) is multiplied by to become a row (d, r), and the
    mean (d,). Factor and rows have the same Gram matrix, as `linalg.balance` gives it, without rows in float64."""
    import torch

    a, mean, low, inverse = _moment(vectors, group, norm)
    u = torch.linalg.eigh(a).eigenvectors[:, -rank:]
    left = u if inverse is None else inverse @ u  # (d, r)
    onto = u if low is None else low @ u  # L^-1 G = L^T
    gram = a.new_zeros(rank, rank)
    for _, chunk in _chunks(vectors, group):
        rows = (chunk - mean) @ onto
        gram += rows.mT @ rows
    values, v = torch.linalg.eigh(gram)
    values = values.clamp_min(1e-15 * values[-1:].clamp_min(torch.finfo(a.dtype).tiny)).sqrt()  # below is rounding
    q, r = torch.linalg.qr(left)
    w, s, zh = torch.linalg.svd(r @ (v * values))
    half = s.sqrt()
    return q @ w * half, onto @ (v / values @ zh.mT * half), mean


def _moment(vectors: Tensor, group: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Of the vectors e (d,) of a group of tokens: L^T (sum of f (e - mean) (e - mean)^T) L (d, d), their mean (d,), L
    and L^-T, with G = L L^T; float64."""
    import torch

    from .kronecker import ridged, root

    assert isinstance(norm, KroneckerNorm)
    d = vectors.shape[1]
    f = torch.ones(len(group), dtype=torch.float64) if norm.input is None else norm.input.double()
    weights = torch.split(f.to(vectors.device), CHUNK)
    total = torch.zeros(d, d, dtype=torch.float64, device=vectors.device)
    mean = torch.zeros(d, dtype=torch.float64, device=vectors.device)
    for (_, chunk), weight in zip(_chunks(vectors, group), weights, strict=True):
        mean += weight @ chunk
    mean /= f.sum()
    for (_, chunk), weight in zip(_chunks(vectors, group), weights, strict=True):
        moved = chunk - mean
        total += (moved * weight.unsqueeze(-1)).mT @ moved
    if norm.output is None:
        return total, mean, None, None
    low, inverse = root(ridged(norm.output.to(total)))
    return low.mT @ total @ low, mean, low, inverse
