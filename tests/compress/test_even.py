"""Tensors that 8 bits change less: another layer of the same matrix, whose channels are of like size."""

import pytest
import torch

from factcli.compress.linalg import hartley
from factcli.compress.structures import Structure, Tensors
from factcli.compress.structures.embedding import Embedding
from factcli.compress.structures.grid import Grid

from .made import GRIDS, every, make, project

SIZE = 24


def decaying(rows: int, columns: int) -> torch.Tensor:
    """A matrix whose singular values fall by half, one after the other, block by block too."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, n, generator=draw, dtype=torch.float64) for n in (rows, columns))
    sizes = torch.logspace(0, -min(rows, columns) + 1, min(rows, columns), 2, dtype=torch.float64)
    return torch.linalg.qr(left)[0][:, : len(sizes)] * sizes @ torch.linalg.qr(right)[0][: len(sizes)]


def spread(structure: Structure, tensors: Tensors) -> float:
    """How far the sizes of the channels between the factors are apart, largest to smallest: the most of any block."""
    if isinstance(structure, Grid):
        sizes = torch.linalg.vector_norm(structure.factors(tensors)[1].double(), dim=-1)
    else:
        sizes = torch.linalg.vector_norm(tensors["rows.1.weight"].double(), dim=0)
    return float((sizes.amax(-1) / sizes.amin(-1)).max())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_transform_is_orthogonal_and_flat(size: int) -> None:
    turn = hartley(size)
    assert (turn @ turn.mT - torch.eye(size, dtype=torch.float64)).abs().max() < 1e-13
    assert turn.abs().max() <= (2 / size) ** 0.5 + 1e-13


@pytest.mark.parametrize("structure", every(2), ids=lambda s: s.name)
def test_the_matrix_stays(structure: Structure) -> None:
    w = decaying(SIZE, SIZE)
    spec = {"sizes": [4, 20], "ranks": [SIZE, 6]} if isinstance(structure, Embedding) else structure.spec(6)
    tensors = structure.project(w, spec)
    found = structure.even(tensors)
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in tensors.items()}
    assert (structure.dense(found) - structure.dense(tensors)).abs().max() < 1e-12
    if isinstance(structure, (Grid, Embedding)):
        assert spread(structure, found) < 3 < spread(structure, tensors)
    else:  # pivots are columns of the matrix, which nothing can stand for
        assert all(torch.equal(found[name], t) for name, t in tensors.items())


@pytest.mark.parametrize("name", GRIDS)
def test_factors_that_training_has_scaled(name: str) -> None:
    """One product, of a large and a small factor: both channels' sides are of like size then too."""
    structure = make(name, 2)
    assert isinstance(structure, Grid)
    left, right = structure.factors(project(decaying(SIZE, SIZE), structure, 4))
    odd = torch.tensor([1.0, 1e3, 1e-3, 1.0], dtype=torch.float64)
    tensors = structure.tensors(left * odd, right / odd.unsqueeze(-1))
    found = structure.even({key: t.float() for key, t in tensors.items()})
    assert (structure.dense(found) - structure.dense(tensors)).abs().max() < 1e-6
    assert spread(structure, found) < 3
