"""Rows that choose and rows that report: no text on both sides, enough on each; models scored as they are shipped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

import factcli
from factcli.calibration.data import CalibrationOptions
from factcli.errors import FactcliError
from factcli.models.model import find_model
from factcli.recipe.running import Measured
from factcli.scores import evaluating
from factcli.searching import interval as intervals
from factcli.searching.goal import Target
from factcli.searching.interval import interval, scored
from factcli.searching.likeness import likeness
from factcli.searching.rows import judge

from ..training_helpers import FAST, rows, save_model, write_csv


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of classes, and files: of texts that are there three times, few, and many."""
    folder = tmp_path_factory.mktemp("fairness")
    save_model(folder / "base", initializer_range=0.3)
    write_csv(folder / "train.csv", rows(256, 4))
    write_csv(folder / "thrice.csv", rows(60, 5) * 3)
    write_csv(folder / "few.csv", rows(20, 6))
    write_csv(folder / "many.csv", [*rows(20, 6)[:7], *rows(200, 7)])
    factcli.finetune(
        str(folder / "base"), folder / "dense", train=folder / "train.csv", validation=folder / "few.csv",
        epochs=6, seed=1, **FAST,
    )  # fmt: skip
    return folder


def target(place: Path, choose: str, report: str | None, amount: float) -> Target:
    return Target(amount, False, Measured(validation=place / choose), place / report if report else None)


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_texts_are_on_one_side(seed: int, place: Path) -> None:
    made = judge(find_model(str(place / "dense")), target(place, "thrice.csv", None, 5.0), seed)
    chosen, reported = (list(part.data["text"]) for part in (made.choosing, made.reporting))
    assert not set(chosen) & set(reported)
    assert sorted(chosen + reported) == sorted(3 * [text for text, _ in rows(60, 5)])
    assert len(chosen) == len(reported) == 90


def test_a_row_that_chooses_does_not_report(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = judge(find_model(str(place / "dense")), target(place, "few.csv", "many.csv", 20.0), 0)
    assert list(made.reporting.data["text"]) == [text for text, _ in rows(200, 7)]
    assert "7 rows of" in caplog.text
    assert made.holds([(rows(20, 6)[0][0],), (rows(200, 7)[0][0],), ("w1 w1 w1",)]) == [True, True, False]


def test_the_fewer_of_both_tell(place: Path) -> None:
    with pytest.raises(FactcliError, match=r"on 20 rows, of which one is 5.00 points \(20 choose, 200 report\)"):
        judge(find_model(str(place / "dense")), target(place, "few.csv", "many.csv", 1.0), 0)


def test_the_order_of_labels_is_looked_for_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often rows are drawn, and the scores are those of the exam."""
    made = judge(find_model(str(place / "dense")), target(place, "thrice.csv", None, 5.0), 0)
    exam, outputs = made.reporting.exam, made.reporting.outputs
    assert isinstance(exam, evaluating.Exam)
    unnamed, looked = replace(exam, order=None), []
    monkeypatch.setattr(intervals, "DRAWS", 20)
    monkeypatch.setattr(evaluating, "check_unnamed_order", lambda *given: looked.append(given))
    scores = scored(unnamed, outputs, "accuracy")
    interval(scores, scores, len(outputs), 0)
    assert len(looked) == 1
    drawn = np.random.default_rng(0).integers(0, len(outputs), 50)
    assert scores(drawn) == pytest.approx((outputs[drawn].argmax(1) == unnamed.labels[drawn]).mean())


def test_a_model_is_as_like_as_it_is_shipped(place: Path, tmp_path: Path) -> None:
    """In 16 bits, against the same passes by hand."""
    write_csv(tmp_path / "texts.csv", [(text,) for text, _ in rows(48, 3)], ("text",))
    dense = AutoModel.from_pretrained(place / "base").eval()
    small = AutoModel.from_pretrained(place / "base", dtype=torch.bfloat16).eval()
    small.save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "half" / name).write_bytes((place / "base" / name).read_bytes())
    source = find_model(str(place / "base"))
    made = likeness(source, 0.9, CalibrationOptions(str(tmp_path / "texts.csv"), 2000), [])

    def vector(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state
        return found.float().mean(1)[0]

    cosines = [
        torch.cosine_similarity(*(vector(model, f["input_ids"]) for model in (dense, small)), dim=0).item()
        for f in made.choosing
    ]
    lost = made.lost(find_model(str(tmp_path / "half")), None)
    assert lost == pytest.approx(100 * (1 - np.mean(cosines)), rel=0.05)
    rounded = small.float()
    exact = [
        torch.cosine_similarity(*(vector(model, f["input_ids"]) for model in (dense, rounded)), dim=0).item()
        for f in made.choosing
    ]
    assert lost > 1.2 * 100 * (1 - np.mean(exact))
