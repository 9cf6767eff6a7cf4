"""Projections under data-aware metrics, against independent numerical minimisation and against theory."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from factcli.compress.norms import FROBENIUS, ElementwiseMetric, KroneckerMetric, Metric
from factcli.compress.structures import Structure, structures
from factcli.compress.structures.alternating import descend
from factcli.compress.structures.elementwise import error as weighted_error
from factcli.compress.structures.elementwise import normalized, solvers, start
from factcli.compress.structures.kronecker import weighted_svd
from factcli.compress.structures.projection import gains, project

ALL = pytest.mark.parametrize("structure", [structures[name] for name in structures], ids=list(structures))
SHAPES = pytest.mark.parametrize("shape", [(8, 12), (12, 8), (8, 8)])
METRICS = ["both", "input", "output", "weights", "low-rank input"]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moment(n: int, seed: int, samples: int | None = None) -> torch.Tensor:
    x = random(samples or 2 * n, n, seed=seed) * torch.linspace(0.2, 3, n, dtype=torch.float64)
    return x.T @ x / len(x)


def make_metric(kind: str, m: int, n: int) -> Metric:
    if kind == "weights":
        return ElementwiseMetric(random(m, n, seed=5).square())
    if kind == "low-rank input":
        return KroneckerMetric(None, moment(n, 2, samples=3))
    return KroneckerMetric(
        moment(m, 1) if kind in ("both", "output") else None, moment(n, 2) if kind in ("both", "input") else None
    )


def brute_force(
    w: torch.Tensor, structure: Structure, rank: int, blocks: int, metric: Metric, starts: int = 4
) -> float:
    """The least error that a quasi-Newton method finds over the factors, from several random starts; nothing is shared
    with the solvers but the definition of the error."""
    m, n = w.shape
    order = structure.row_order(m, blocks)
    order = torch.arange(m) if order is None else order
    sizes = (blocks, blocks, m // blocks, rank), (blocks, blocks, rank, n // blocks)
    cut = int(np.prod(sizes[0]))

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(flat, requires_grad=True)
        left, right = x[:cut].view(sizes[0]), x[cut:].view(sizes[1])
        grid = torch.einsum("ijar,ijrc->iajc", left, right).reshape(m, n)
        d = torch.zeros_like(w).index_copy(0, order, w[order] - grid)
        if isinstance(metric, ElementwiseMetric):
            loss = (metric.weight * d * d).sum()
        else:
            g = torch.eye(m, dtype=w.dtype) if metric.output is None else metric.output
            c = torch.eye(n, dtype=w.dtype) if metric.input is None else metric.input
            loss = torch.trace(g @ d @ c @ d.T)
        loss.backward()
        return float(loss.detach()), x.grad.numpy()

    total = cut + int(np.prod(sizes[1]))
    draws = np.random.default_rng(0)
    options = {"maxiter": 1500, "ftol": 1e-13, "gtol": 1e-9}
    return min(
        float(minimize(value, draws.normal(size=total), jac=True, method="L-BFGS-B", options=options).fun)
        for _ in range(starts)
    )


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
@pytest.mark.parametrize("kind", METRICS)
def test_low_rank_is_the_minimum(kind: str, shape: tuple[int, int]) -> None:
    structure, w, metric = structures["low-rank"], random(*shape), make_metric(kind, *shape)
    found = metric.error(w - structure.dense(project(w, structure, 2, 1, metric)))
    least = brute_force(w, structure, 2, 1, metric)
    # The weighted problem has local minima: the solver must come near the best of several starts.
    assert found <= least * (1.3 if kind == "weights" else 1 + 1e-6) + 1e-6 * metric.error(w)


@pytest.mark.parametrize("name", [n for n in structures if structures[n].uses_blocks])
@pytest.mark.parametrize("kind", METRICS)
def test_blocks_come_close_to_the_minimum(kind: str, name: str) -> None:
    structure, w, metric = structures[name], random(6, 8), make_metric(kind, 6, 8)
    found = metric.error(w - structure.dense(project(w, structure, 1, 2, metric)))
    assert found <= brute_force(w, structure, 1, 2, metric) * 1.3 + 1e-7 * metric.error(w)


@ALL
@SHAPES
@pytest.mark.parametrize("kind", METRICS)
def test_never_worse_than_frobenius_and_exact_at_full_rank(
    structure: Structure, shape: tuple[int, int], kind: str
) -> None:
    w, b, metric = random(*shape), 2 if structure.uses_blocks else 1, make_metric(kind, *shape)
    for rank in (1, 2):
        found = metric.error(w - structure.dense(project(w, structure, rank, b, metric)))
        assert found <= metric.error(w - structure.dense(project(w, structure, rank, b))) * (1 + 1e-9)
    full = structure.dense(project(w, structure, structure.max_rank(shape, b), b, metric))
    assert metric.error(w - full) < 1e-12 * metric.error(w)


@ALL
@pytest.mark.parametrize("kind", METRICS)
def test_scaling_the_metric_changes_nothing(structure: Structure, kind: str) -> None:
    w, b, metric = random(8, 12), 2 if structure.uses_blocks else 1, make_metric(kind, 8, 12)
    if isinstance(metric, ElementwiseMetric):
        scaled: Metric = ElementwiseMetric(2.0**-26 * metric.weight)
    else:
        parts = (metric.output, metric.input)
        scaled = KroneckerMetric(*(None if p is None else 2.0**-26 * p for p in parts))
    a, c = (structure.dense(project(w, structure, 2, b, x)) for x in (metric, scaled))
    assert metric.error(a - c) < 1e-8 * metric.error(w)


@SHAPES
def test_identity_is_frobenius(shape: tuple[int, int]) -> None:
    structure, w = structures["low-rank"], random(*shape)
    eyes = [torch.eye(k, dtype=torch.float64) for k in shape]
    for metric in (KroneckerMetric(*eyes), ElementwiseMetric(torch.ones(shape, dtype=torch.float64))):
        found = structure.dense(project(w, structure, 3, 1, metric))
        assert (found - structure.dense(project(w, structure, 3, 1))).abs().max() < 1e-6


@ALL
@pytest.mark.parametrize("kind", METRICS)
def test_factors_are_balanced(structure: Structure, kind: str) -> None:
    b = 2 if structure.uses_blocks else 1
    factors = project(random(8, 12), structure, 2, b, make_metric(kind, 8, 12))
    assert (factors.left.mT @ factors.left - factors.right @ factors.right.mT).abs().max() < 1e-8


@SHAPES
@pytest.mark.parametrize("kind", ["both", "input", "output"])
def test_gains_predict_the_error(shape: tuple[int, int], kind: str) -> None:
    structure, w, metric = structures["low-rank"], random(*shape), make_metric(kind, *shape)
    worth = gains(w, structure, 1, metric)
    assert len(worth) == min(shape)
    assert bool((worth.diff() <= 0).all())
    for rank in (1, 3, 6):
        found = metric.error(w - structure.dense(project(w, structure, rank, 1, metric)))
        assert found == pytest.approx(float(worth[rank:].sum()), rel=1e-6)


@ALL
@pytest.mark.parametrize("kind", ["frobenius", *METRICS])
def test_gains_fit_every_structure(structure: Structure, kind: str) -> None:
    b = 2 if structure.uses_blocks else 1
    metric = FROBENIUS if kind == "frobenius" else make_metric(kind, 8, 12)
    worth = gains(random(8, 12), structure, b, metric)
    assert len(worth) == structure.max_rank((8, 12), b)
    assert bool((worth >= 0).all())
    assert bool((worth.diff() <= 1e-12).all())


@pytest.mark.parametrize("g", [None, 1], ids=["no G", "G"])
@pytest.mark.parametrize("c", [None, 2], ids=["no C", "C"])
def test_alternating_never_rises(g: int | None, c: int | None) -> None:
    w = random(24, 36)
    metric = None if g is None else moment(24, g), None if c is None else moment(36, c)
    left, right, errors = descend(w, *metric, random(3, 3, 8, 2, seed=7), random(3, 3, 2, 12, seed=8))
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(errors))
    assert errors[-2] - errors[-1] <= 1e-4 * errors[-1] or len(errors) > 100
    d = w - (left @ right).transpose(1, 2).reshape(w.shape)
    assert KroneckerMetric(*metric).error(d) == pytest.approx(errors[-1])


@pytest.mark.parametrize("solver", list(solvers))
def test_weighted_solvers_improve_on_shared_weights(solver: str) -> None:
    w, weight = random(16, 20), normalized(random(16, 20, seed=3).pow(4))
    before = start(w, weight, 4)
    after = solvers[solver](w, weight, *before)
    assert float(weighted_error(w, weight, *after)) < 0.9 * float(weighted_error(w, weight, *before))


@pytest.mark.parametrize("solver", list(solvers))
def test_weighted_solvers_never_get_worse(solver: str) -> None:
    for seed in range(5):
        w, weight = random(6, 9, seed=seed), normalized(random(6, 9, seed=seed + 50).square())
        before = start(w, weight, 2)
        after = solvers[solver](w, weight, *before)
        assert float(weighted_error(w, weight, *after)) <= float(weighted_error(w, weight, *before)) * (1 + 1e-12)


@pytest.mark.parametrize("broken", ["zero", "indefinite", "rank one"])
def test_singular_metrics_are_no_crash(broken: str) -> None:
    c = {
        "zero": torch.zeros(12, 12),
        "indefinite": torch.diag(torch.linspace(-1e-9, 1, 12)),
        "rank one": torch.ones(12, 12),
    }
    metric = KroneckerMetric(c[broken][:8, :8].double(), c[broken].double())
    for name in structures:
        structure = structures[name]
        b = 2 if structure.uses_blocks else 1
        factors = project(random(8, 12), structure, 2, b, metric)
        assert bool(torch.isfinite(structure.dense(factors)).all())
        assert bool(torch.isfinite(gains(random(8, 12), structure, b, metric)).all())
    weights = ElementwiseMetric(torch.zeros(8, 12, dtype=torch.float64))
    assert bool(torch.isfinite(project(random(8, 12), structures["low-rank"], 2, 1, weights).left).all())


def test_the_left_factor_is_the_transposed_cholesky_one() -> None:
    """The square root of G enters as L^T: with L the metric would be another one (a bug of published code)."""
    w, g = random(6, 6), moment(6, 1)
    low = torch.linalg.cholesky(g)
    left, right = weighted_svd(w, 2, g, None)
    d = w - left @ right
    tail = torch.linalg.svdvals(low.T @ w)[2:].square().sum()
    assert float(torch.trace(g @ d @ d.T)) == pytest.approx(float(tail), rel=1e-9)
