"""Projections are exact, and the modules compute what the factors say."""

import copy

import pytest
import torch
from torch import nn

from factcli.compress.linalg import balance, truncated_svd
from factcli.compress.structures import Structure, structures
from factcli.compress.structures.grid import Grid
from factcli.compress.structures.projection import split
from factcli.remote_code.modeling_factorized import TOKENS, BlockLinear

from .compress.made import GRIDS, every, make, nearest, project

SHAPES = [(12, 20), (20, 12), (24, 24), (8, 64)]
ALL = pytest.mark.parametrize("structure", every(4), ids=list(structures))
ALL_GRIDS = pytest.mark.parametrize("structure", every(4, GRIDS), ids=GRIDS)


def matrix(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@ALL
@pytest.mark.parametrize("shape", SHAPES)
def test_full_rank_is_exact(structure: Structure, shape: tuple[int, int]) -> None:
    w = matrix(shape)
    assert (nearest(w, structure, structure.max_rank(shape)) - w).abs().max() < 1e-10


@ALL_GRIDS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_error_is_the_tail_of_the_singular_values(structure: Grid, shape: tuple[int, int], rank: int) -> None:
    w, order = matrix(shape), structure.row_order(shape[0], structure.blocks)
    error = (nearest(w, structure, rank) - w).square().sum()
    blocks = split(w if order is None else w[order], structure.blocks)
    tail = torch.linalg.svdvals(blocks)[..., rank:].square().sum()
    assert abs(error.sqrt() - tail.sqrt()) < 1e-10


@ALL
def test_projection_of_a_structured_matrix_is_itself(structure: Structure) -> None:
    once = nearest(matrix((24, 40)), structure, 1)
    assert (nearest(once, structure, 1) - once).abs().max() < 1e-10


def monarch_by_definition(l_blocks: torch.Tensor, r_blocks: torch.Tensor, m: int, n: int) -> torch.Tensor:
    """M[l*j + jj, k*i + ii] = sum over r of L[k, jj, l, r] R[k, jj, r, ii], entry by entry: input blocks contiguous,
    the output block of row i is i mod b (Dao et al. 2022, rectangular and of rank r)."""
    b = l_blocks.shape[0]
    dense = torch.zeros(m, n, dtype=torch.float64)
    for row in range(m):
        for column in range(n):
            k, ii = divmod(column, n // b)
            ll, jj = divmod(row, b)
            dense[row, column] = l_blocks[jj, k, ll] @ r_blocks[jj, k, :, ii]
    return dense


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (8, 8)])
def test_monarch_equals_its_definition(shape: tuple[int, int]) -> None:
    monarch = make("monarch", 4)
    assert isinstance(monarch, Grid)
    tensors = project(matrix(shape), monarch, 1)
    by_definition = monarch_by_definition(*monarch.factors(tensors), *shape)
    assert (monarch.dense(tensors) - by_definition).abs().max() < 1e-14


def test_monarch_is_a_product_of_two_block_diagonal_matrices_and_permutations() -> None:
    """M = P1 L P2 R with the matrices of the exported layer, for 4 blocks of rank 2 on 12 x 20."""
    b, r, m, n = 4, 2, 12, 20
    monarch = make("monarch", b)
    state = project(matrix((m, n)), monarch, r)
    right = torch.block_diag(*state["factor_in"])  # (b*b*r, n)
    left = torch.block_diag(*state["factor_out"])  # (m, b*b*r)
    swap = torch.arange(b * b * r).view(b, b, r).transpose(0, 1).reshape(-1)
    product = left @ right[swap]
    rows = torch.arange(m).view(b, m // b).T.reshape(-1)  # block-major -> row i in block i mod b
    assert (product[rows] - monarch.dense(state)).abs().max() < 1e-12


@ALL
def test_parameters_are_counted(structure: Structure) -> None:
    tensors = project(matrix((24, 40)), structure, 3)
    count = sum(t.numel() for t in tensors.values() if t.is_floating_point())
    assert count == structure.parameters((24, 40), 3)


@ALL
@pytest.mark.parametrize("bias", [True, False])
def test_module_computes_the_dense_product(structure: Structure, bias: bool) -> None:
    m, n = 24, 40
    tensors = project(matrix((m, n)), structure, 3)
    entry = {"structure": structure.name, "shape": [m, n], "spec": structure.spec(3), "bias": bias}
    vector = matrix((1, m), 1)[0] if bias else None
    layer = structure.module(entry, tensors, vector, torch.float64, torch.device("cpu"))
    for lead in [(5,), (2, 3), ()]:
        x = torch.randn(*lead, n, dtype=torch.float64)
        expected = x @ structure.dense(tensors).T + (vector if bias else 0)
        torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_tokens_equal_few(interleaved: bool, bias: bool, dtype: torch.dtype) -> None:
    """With gradients, without (many tokens go a few at a time) and traced: what float64 gives, but for rounding."""
    layer = BlockLinear(12, 8, 2, bias, 4, interleaved).to(dtype)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = torch.randn(2, TOKENS + 7, 12, dtype=dtype)
    exact = copy.deepcopy(layer).double()(x.double())
    with torch.no_grad():
        found = layer(x)
        traced = torch.jit.trace(layer, x)(x[:, :TOKENS])  # type: ignore[no-untyped-call]
    close = {"rtol": 0.01, "atol": 0.02} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    assert found.shape == exact.shape
    for outputs in (layer(x), found, traced):
        assert torch.allclose(outputs.double(), exact[:, : outputs.shape[1]], **close)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_autocast_is_that_of_a_linear_layer(interleaved: bool, grad: bool) -> None:
    layer, x = BlockLinear(12, 8, 2, True, 4, interleaved), torch.randn(2, TOKENS + 7, 12)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        found, usual = layer(x), nn.Linear(12, 8)(x)
    assert found.dtype == usual.dtype
    torch.testing.assert_close(found.float(), layer(x), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("frozen", [(), ("x",), ("factor_in",), ("factor_out", "bias")])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("interleaved", [True, False])
def test_gradients_are_those_of_the_dense_matrix(interleaved: bool, bias: bool, frozen: tuple[str, ...]) -> None:
    """Of BlockProduct, against autograd through the matrix that the factors stand for; more tokens than one tile."""
    layer = BlockLinear(12, 8, 2, bias, 4, interleaved).double()
    structure = make("monarch" if interleaved else "block-low-rank", 4)
    x = torch.randn(2, TOKENS + 7, 12, dtype=torch.float64).transpose(0, 1).requires_grad_("x" not in frozen)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name not in frozen)
    inputs = [p for p in (x, *layer.parameters()) if p.requires_grad]
    weights = torch.randn(TOKENS + 7, 2, 8, dtype=torch.float64)
    found = torch.autograd.grad((layer(x).sin() * weights).sum(), inputs)
    tensors = {"factor_in": layer.factor_in, "factor_out": layer.factor_out}
    dense = nn.functional.linear(x, structure.dense(tensors), layer.bias)
    expected = torch.autograd.grad((dense.sin() * weights).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_under_autocast_have_the_types_of_their_tensors() -> None:
    layer, x = BlockLinear(12, 8, 2, True, 4, True), torch.randn(600, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert {p.grad.dtype for p in (x, *layer.parameters()) if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for p in (x, *layer.parameters()))


@ALL_GRIDS
def test_factors_are_balanced(structure: Grid) -> None:
    left, right = structure.factors(project(matrix((24, 40)), structure, 2))
    torch.testing.assert_close(left.mT @ left, right @ right.mT, atol=1e-9, rtol=1e-9)


def test_balance_keeps_the_product() -> None:
    left, right = 100 * matrix((3, 12, 4)[1:]), 0.01 * matrix((4, 20), 1)
    a, c = balance(left, right)
    torch.testing.assert_close(a @ c, left @ right, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(a.T @ a, c @ c.T, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("decay", [0.0, 3.0, 12.0, 40.0])
def test_truncated_svd_of_hard_spectra(decay: float) -> None:
    """Singular values from flat to far below the machine precision; the Gram matrix alone would lose the small ones."""
    u, _, vh = torch.linalg.svd(matrix((30, 30)))
    s = 10 ** (-decay * torch.linspace(0, 1, 30, dtype=torch.float64))
    w = u * s @ vh
    for rank in (1, 7, 29, 30):
        a, b, c = truncated_svd(w, rank)
        error = torch.linalg.matrix_norm(w - a * b @ c)
        assert abs(error - s[rank:].square().sum().sqrt()) < 1e-10


@ALL
def test_zero_matrix(structure: Structure) -> None:
    zero = torch.zeros(8, 8, dtype=torch.float64)
    assert torch.equal(nearest(zero, structure, 1), zero)
