"""The nearest factorized embedding against independent minimisation; frequencies against a plain count."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factcli import load
from factcli.calibration.measure import calibrate, options_of
from factcli.compress.criteria import criteria
from factcli.compress.criteria.base import frequencies
from factcli.compress.norms import FROBENIUS, KroneckerNorm
from factcli.compress.structures import Embedding
from factcli.compress.structures.embedding import by_frequency, part
from factcli.models.model import find_model
from factcli.recipe.factorizing import Recipe

from ..vocabulary import made
from . import cases

D, TOKENS = 6, 40
SPEC = {"sizes": [4, 11, 25], "ranks": [6, 3, 2]}


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def norm_of(kind: str) -> KroneckerNorm:
    f = random(TOKENS, seed=1).square() + 1e-3
    x = random(9, D, seed=2) * torch.linspace(0.2, 3, D, dtype=torch.float64)
    return {
        "plain": FROBENIUS, "frequencies": KroneckerNorm(None, f / f.sum()), "gradients": KroneckerNorm(x.T @ x, None),
        "both": KroneckerNorm(x.T @ x, f / f.sum()),
    }[kind]  # fmt: skip


def groups(norm: KroneckerNorm, w: Tensor) -> list[tuple[Tensor, int]]:
    """The tokens of each group, by a plain sort, and its rank."""
    f = torch.zeros(TOKENS) if norm.input is None else norm.input
    order = torch.tensor(sorted(range(TOKENS), key=lambda t: -float(f[t])))
    return list(zip(order.split(SPEC["sizes"]), SPEC["ranks"], strict=True))


@pytest.mark.parametrize("kind", ["plain", "frequencies", "gradients", "both"])
def test_it_is_the_weighted_svd_of_each_group_about_its_mean(kind: str) -> None:
    w, norm = random(D, TOKENS, seed=0), norm_of(kind)
    tensors = Embedding().project(w, SPEC, norm)
    found = Embedding().dense(tensors)
    g = torch.eye(D, dtype=torch.float64) if norm.output is None else norm.output
    values, vectors = torch.linalg.eigh(g)
    half = vectors * values.clamp_min(0).sqrt() @ vectors.T
    for tokens, rank in groups(norm, w):
        f = torch.ones(len(tokens), dtype=torch.float64) if norm.input is None else norm.input[tokens]
        e = w[:, tokens].T
        mean = (f[:, None] * e).sum(0) / f.sum()
        singular = torch.linalg.svdvals(f.sqrt()[:, None] * (e - mean) @ half)
        error = part(norm, tokens).error((found - w)[:, tokens])
        assert error == pytest.approx(float(singular[rank:].square().sum()), rel=1e-6, abs=1e-12)
        gains = Embedding().gains(w[:, tokens], part(norm, tokens))
        whole = torch.zeros(D, dtype=torch.float64)
        whole[: len(singular)] = singular.square()
        torch.testing.assert_close(gains, whole[: len(gains)], atol=1e-9 * float(whole[0]), rtol=1e-6)


def test_no_optimizer_finds_a_nearer_one() -> None:
    """Over rows, factor and mean at once, from random starts."""
    w, norm = random(D, TOKENS, seed=0), norm_of("both")
    found = Embedding().dense(Embedding().project(w, SPEC, norm))
    for tokens, rank in groups(norm, w):
        ours = part(norm, tokens).error((found - w)[:, tokens])
        best = min(least(w[:, tokens], part(norm, tokens), rank, seed) for seed in range(4))
        assert ours <= best * (1 + 1e-6) + 1e-12
        assert best <= ours * 1.01 + 1e-9  # so that the optimizer says something


def least(w: Tensor, norm: KroneckerNorm, rank: int, seed: int) -> float:
    """The least error that a quasi-Newton method finds."""
    assert norm.input is not None
    assert norm.output is not None
    g, f = norm.output, norm.input[:, None]
    shapes = ((w.shape[1], rank), (rank, D), (D,))
    rows, factor, mean = (random(*shape, seed=10 * seed + i).requires_grad_() for i, shape in enumerate(shapes))
    optimizer = torch.optim.LBFGS(
        [rows, factor, mean], max_iter=2000, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def value() -> Tensor:
        difference = rows @ factor + mean - w.T
        loss = ((difference @ g) * difference * f).sum()
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(value)
    return value().item()


def test_factors_are_balanced_and_the_first_row_is_zero() -> None:
    tensors = Embedding().project(random(D, TOKENS, seed=0), SPEC, norm_of("both"))
    for i, rank in enumerate(SPEC["ranks"]):
        rows = tensors[f"rows.{i}.weight"]
        assert not rows[0].any()
        assert rows[1:].any(1).all()
        if rank < D:
            factor = tensors[f"factors.{i}.weight"]
            torch.testing.assert_close(rows.T @ rows, factor.T @ factor, atol=1e-9, rtol=1e-6)
        else:
            assert f"factors.{i}.weight" not in tensors
            assert not tensors["mean.weight"][i].any()


@pytest.mark.parametrize("unseen", [0.3, 0.03])
def test_frequencies_are_those_of_all_texts(unseen: float, tmp_path: Path) -> None:
    source = find_model(str(cases.save("bert-cls", tmp_path / "source")))
    texts = made.texts(tmp_path / "texts.txt", 300)
    recipe = Recipe(keep=0.5, criterion="kfac", calibration=str(texts), calibration_samples=10, embeddings="factorize")
    loaded = source.load()
    found = calibrate(source, loaded, options_of(recipe), criteria["kfac"].needs, embeddings=True)
    counts = found.statistics["embeddings.word_embeddings"].counts
    tokenizer = made.load(tmp_path / "source")
    count = Counter(t for line in texts.read_text().splitlines() for t in tokenizer(line)["input_ids"])
    assert found.examples == 10
    assert counts is not None
    assert counts.tolist() == [float(count[t]) for t in range(len(counts))]
    assert 0 < sum(c == 0 for c in counts.tolist()) < len(counts)

    shares = frequencies(counts, unseen)
    assert float(shares.sum()) == pytest.approx(1)
    expected = [(1 - unseen) * count[t] / count.total() + unseen / len(counts) for t in range(len(counts))]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(frequencies(torch.zeros(5), unseen), torch.full((5,), 0.2, dtype=torch.float64))


def test_tokens_that_were_never_seen_keep_a_vector_of_sense(tmp_path: Path) -> None:
    """Of directions that the ones seen do not have; without a share for them these would go."""
    source = cases.save("bert-cls", tmp_path / "source")
    texts = made.texts(tmp_path / "texts.txt", 200)
    tokenizer = made.load(source)
    seen = sorted({t for line in texts.read_text().splitlines() for t in tokenizer(line)["input_ids"]})
    model = load_native(source)
    rows = model.get_input_embeddings().weight
    unseen = [t for t in range(len(rows)) if t not in seen]
    assert len(unseen) > 100
    with torch.no_grad():  # some directions for both, others for each
        scales = torch.full((len(rows), 32), 0.05)
        scales[:, :4] = 0.4
        scales[seen, 4:12] = 0.5
        scales[unseen, 12:16] = 0.5
        rows.copy_(0.1 * scales * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)))
    model.save_pretrained(source)
    result = cases.by_frequency("bert-cls", source, tmp_path / "out", texts, keep=0.4)
    assert max(cases.layer(result)["sizes"]) > 100
    found = cases.matrix(load(tmp_path / "out").base_model.get_input_embeddings())
    cosine = torch.cosine_similarity(found, rows.detach(), dim=1)
    length = found.norm(dim=1) / rows.detach().norm(dim=1)
    assert float(cosine[unseen].mean()) > 0.75
    assert float(cosine[unseen].min()) > 0.2
    cases.by_frequency("bert-cls", source, tmp_path / "less", texts, keep=0.4, unseen_tokens=0.01)
    less = cases.matrix(load(tmp_path / "less").base_model.get_input_embeddings())
    assert (
        float(torch.cosine_similarity(less, rows.detach(), dim=1)[unseen].mean()) < float(cosine[unseen].mean()) - 0.1
    )
    assert 0.6 < float(length[unseen].mean()) < 1.05

    w, counts = rows.detach().T.double(), torch.zeros(len(rows))
    counts[seen] = 1.0
    spec = {"sizes": [len(rows)], "ranks": [8]}
    cosines = []
    for f in (frequencies(counts, 0.3), counts.double() + 1e-9):
        vectors = Embedding().dense(Embedding().project(w, spec, KroneckerNorm(None, f))).T
        cosines.append(float(torch.cosine_similarity(vectors, w.T, dim=1)[unseen].mean()))
        assert by_frequency(KroneckerNorm(None, f), w)[: len(seen)].sort().values.tolist() == seen
    assert cosines[0] > cosines[1] + 0.1, cosines


def load_native(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder)
