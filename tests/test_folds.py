"""Second moments of folded tokens: what they are over all signs, and what they do not depend on."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import factcli
from factcli.calibration import drift as drifting
from factcli.calibration import measure, sums
from factcli.calibration.sums import Fold, Gram, centre, column_sums, fold_width

from . import tiny
from .test_calibration import HEADS, assert_same, examples, run, tensors, tokenizer
from .training_helpers import rows, save_model, write_csv

MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])  # of width 2: rows of two tokens, of one, and of a token with padding


def all_signs() -> Iterator[Tensor]:
    for drawn in product((-1, 1), repeat=int(MASK.sum())):
        signs = MASK.clone()
        signs[MASK.bool()] = torch.tensor(drawn)
        yield signs


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))) + 2


def gram(x: Tensor) -> Tensor:
    found = Gram(x.shape[1], x.device)
    for some in x.split(3):
        found.add(some)
    return found.whole()


def second_moment(x: Tensor, signs: Tensor, shift: Tensor) -> Tensor:
    """Of the tokens of x about their mean, by folds of two, with another point taken off beforehand."""
    fold = Fold(signs, 2)
    taken, total = fold(x, shift)
    mean, along = total / int(MASK.sum()), column_sums(fold.own * taken)
    return centre(gram(taken), mean, mean, (along, along), fold.own.double().square().sum())


def test_rows_and_sums_by_hand() -> None:
    x, signs = drawn(2, 3, 4), torch.tensor([[1, -1, -1], [-1, 1, 0]])
    x[1, 2] = float("nan")  # padding
    fold = Fold(signs, 2)
    found, total = fold(x, torch.ones(4))
    y = x - 1
    expected = torch.stack([y[0, 0] - y[0, 1], -y[0, 2], y[1, 1] - y[1, 0], torch.zeros(4)])
    torch.testing.assert_close(found, expected)
    assert fold.own.flatten().tolist() == [0, -1, 0, 0]
    torch.testing.assert_close(total, y[MASK.bool()].sum(0).double())
    assert torch.equal(Fold(signs, 1).rows(x), x[MASK.bool()])
    plain, same = Fold(signs, 1)(x, torch.zeros(4))
    assert torch.equal(plain, x[MASK.bool()])
    torch.testing.assert_close(same, x[MASK.bool()].sum(0).double())
    torch.testing.assert_close(same, Fold(signs, 1).total(x, torch.zeros(4)))


def test_over_all_signs_they_are_the_moments_themselves() -> None:
    x, shift = drawn(2, 3, 4), torch.tensor([3.0, -1, 0, 2])
    tokens = x[MASK.bool()].double()
    exact = (tokens - tokens.mean(0)).T @ (tokens - tokens.mean(0))
    found = torch.stack([second_moment(x, signs, shift) for signs in all_signs()])
    assert float((found[0] - exact).norm()) > 0.1 * float(exact.norm())  # one alone is not
    torch.testing.assert_close(found.mean(0), exact, atol=1e-4, rtol=1e-4)
    elsewhere = torch.stack([second_moment(x, signs, shift - 5) for signs in all_signs()])
    torch.testing.assert_close(found, elsewhere, atol=1e-3, rtol=1e-4)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-4


def test_drift_over_all_signs() -> None:
    x, w = drawn(2, 3, 4), drawn(3, 4)
    y = x.flip(0) * 0.5 + x.square()
    outputs = x @ w.T + 3
    exact = drifting.measure_drift([(y, outputs, MASK)])
    found = [drifting.measure_drift([(y, outputs, signs)], 2) for signs in all_signs()]
    for name in ("wanted", "after", "covariance", "cross"):
        mean = torch.stack([getattr(drift, name) for drift in found]).mean(0)
        torch.testing.assert_close(mean, getattr(exact, name), atol=1e-4, rtol=1e-4)


def test_how_many_tokens_become_a_row() -> None:
    assert fold_width(0, 384) == fold_width(16_000, 384) == 1
    assert fold_width(65_536, 384) == 5
    assert fold_width(65_536, 3072) == 2
    assert fold_width(65_536, 30_000) == 1


@pytest.mark.parametrize(("kind", "head"), [HEADS[i] for i in (1, 10, 13)])
def test_batches_and_order_do_not_matter(kind: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tok, data = tiny.make(kind, head), tokenizer(tmp_path), examples(20)
    exact = tensors(run(model, tok, data))
    monkeypatch.setattr(sums, "FOLDED", (40, 0))
    assert fold_width(sum(len(e.ids) for e in data), 8) > 3
    few = run(model, tok, data, batch_tokens=60)
    assert_same(few, run(model, tok, data, batch_tokens=1), 1e-5)
    assert_same(few, run(model, tok, data, batch_tokens=10_000), 1e-5)
    for name, value in tensors(run(model, tok, list(reversed(data)), batch_tokens=60)).items():
        assert torch.equal(value, tensors(few)[name]), name
    for name, value in tensors(few).items():
        if name.endswith((".mean", ".fisher")):
            torch.testing.assert_close(value, exact[name], msg=name)
    assert any(not torch.allclose(v, exact[n]) for n, v in tensors(few).items() if n.endswith(".covariance"))


def test_a_token_that_towers_over_the_others_is_never_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in gradients of a class: those of the first token of each text alone."""
    monkeypatch.setattr(sums, "FOLDED", (1, 0))
    gradients = torch.zeros(8, 16, 4)
    gradients[:, 0] = drawn(8, 4)
    signs = torch.where(torch.rand(8, 16, generator=torch.Generator().manual_seed(0)) < 0.5, -1, 1)
    found = gram(Fold(signs, 16).rows(gradients))
    torch.testing.assert_close(found, gradients[:, 0].double().T @ gradients[:, 0].double())


def test_of_long_texts_enough_are_taken_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "ENOUGH", 100)
    save_model(tmp_path / "bert")
    file = write_csv(tmp_path / "t.csv", rows(60, 0))
    options: dict[str, Any] = {"keep": 0.5, "calibration": file, "overwrite": True}
    for criterion in ("kfac", "activation"):
        found = factcli.convert(str(tmp_path / "bert"), tmp_path / "out", criterion=criterion, **options)
        taken, tokens = found["calibration"]["examples"], found["calibration"]["tokens"]
        assert tokens <= 110
        assert 5 < taken < 30
        assert f"Of 60 texts {taken} were calibrated on, of every length alike" in " ".join(found["notes"])
    whole = factcli.convert(str(tmp_path / "bert"), tmp_path / "out", criterion="fisher", **options)
    assert whole["calibration"]["examples"] == 60  # their sums over entries are the papers' own
