"""Structures for tests: an instance of each, with as many blocks as it is to have where it has blocks."""

from collections.abc import Sequence
from typing import Any

import torch

from factcli.compress.norms import FROBENIUS, Norm
from factcli.compress.structures import Structure, Tensors, structures
from factcli.compress.structures.grid import BlockOptions, Blocks, Grid

GRIDS = [name for name in structures if issubclass(structures[name], Grid)]
BLOCKS = [name for name in structures if issubclass(structures[name], Blocks)]


def make(name: str, blocks: int = 1) -> Structure:
    kind = structures[name]
    return kind(BlockOptions(blocks=blocks)) if name in BLOCKS else kind()


def every(blocks: int, names: Sequence[str] = tuple(structures)) -> list[Any]:
    return [make(name, blocks) for name in names]


def project(w: torch.Tensor, structure: Structure, rank: int, norm: Norm = FROBENIUS) -> Tensors:
    return structure.project(w, structure.spec(rank), norm)


def nearest(w: torch.Tensor, structure: Structure, rank: int, norm: Norm = FROBENIUS) -> torch.Tensor:
    """The matrix (m, n) that the projection stands for."""
    return structure.dense(project(w, structure, rank, norm))
