"""convert --max-loss from end to end: who chooses and who reports, what is refused, what is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.models.model import find_model
from factcli.recipe.running import Measured
from factcli.searching import bisection
from factcli.searching import rows as searching
from factcli.searching.goal import Target
from factcli.searching.interval import interval
from factcli.searching.rows import judge

from ..conftest import Run
from ..training_helpers import FAST, rows, save_model, write_csv, write_glue


def labelled(count: int, seed: int) -> list[tuple[str, ...]]:
    """Rows with the labels of sst2."""
    return [(text, {"yes": "positive", "no": "negative"}[label]) for text, label in rows(count, seed)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of classes, its task, and files of the same kind of rows."""
    folder = tmp_path_factory.mktemp("searching")
    save_model(folder / "base", initializer_range=0.3)
    write_glue(folder / "glue", "sst2", train=256, validation=400)
    write_csv(folder / "val.csv", labelled(300, 11))
    write_csv(folder / "test.csv", labelled(200, 12))
    write_csv(folder / "few.csv", labelled(20, 13))
    factcli.finetune(
        str(folder / "base"), folder / "dense", task="sst2", data_dir=folder / "glue", epochs=6, seed=1, **FAST
    )  # fmt: skip
    return folder


KFAC: dict[str, Any] = {"criterion": "kfac", "allocation": "global"}


@pytest.fixture(scope="module")
def found(place: Path) -> dict[str, Any]:
    return factcli.convert(
        str(place / "dense"), place / "small", task="sst2", data_dir=place / "glue", max_loss="2", **KFAC
    )  # fmt: skip


def test_the_result_is_the_smallest_that_was_good_enough(found: dict[str, Any], place: Path) -> None:
    search = found["search"]
    good = [one for one in search["candidates"] if one["loss"] <= search["allowed"]]
    assert search["keep"] == min(one["keep"] for one in good)
    assert search["allowed"] == 2.0
    assert search["rows"] == {"choose": 200, "report": 200}
    chosen = next(one for one in good if one["keep"] == search["keep"])
    assert chosen["bytes"] == (place / "small" / "model.safetensors").stat().st_size
    assert found["targets"]["after"] <= search["keep"] * found["targets"]["before"]
    low, high = search["interval"]
    assert low <= search["loss"] <= high
    assert not list(place.glob(".small*"))


def test_the_loss_that_is_reported_is_that_of_eval(found: dict[str, Any], place: Path) -> None:
    """Of both halves together, as eval sees them."""
    dense, small = factcli.evaluate(
        [str(place / "dense"), str(place / "small")], task="sst2", data_dir=place / "glue", device="cpu"
    )
    search = found["search"]
    chosen = next(one for one in search["candidates"] if one["keep"] == search["keep"])
    both = (chosen["loss"] + search["loss"]) / 2  # halves of the same size
    assert both == pytest.approx(100 * (dense["metrics"]["accuracy"] - small["metrics"]["accuracy"]))


def test_the_recipe_makes_the_same_model(found: dict[str, Any], place: Path) -> None:
    again = factcli.convert(
        str(place / "dense"), place / "again", config=place / "small" / "factcli_recipe.yaml",
        calibration="sst2", data_dir=place / "glue",
    )  # fmt: skip
    assert again["parameters"] == found["parameters"]
    files = [(place / name / "model.safetensors").read_bytes() for name in ("small", "again")]
    assert files[0] == files[1]


def target(place: Path, test: str | None = "test.csv", amount: float = 1.0) -> Target:
    return Target(amount, False, Measured(validation=place / "val.csv"), place / test if test else None)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_row_serves_twice(place: Path, seed: int) -> None:
    made = judge(find_model(str(place / "dense")), target(place, None), seed)
    chosen, reported = (list(part.data["text"]) for part in (made.choosing, made.reporting))
    there = [text for text, _ in rows(300, 11)]
    assert sorted(chosen + reported) == sorted(there)
    assert abs(len(chosen) - len(reported)) <= 1
    assert chosen != there[: len(chosen)]


def test_candidates_are_chosen_without_the_rows_that_report(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever these say: the search asks for them once, when it is over."""
    asked: list[int] = []
    real = searching.asked

    def watched(model: Any, dense: Any, goal: Any, data: Any, *besides: Any) -> Any:
        asked.append(len(data))
        return real(model, dense, goal, data, *besides)

    monkeypatch.setattr(searching, "asked", watched)
    monkeypatch.setattr(bisection, "STEPS", 2)
    result = factcli.convert(
        str(place / "dense"), tmp_path / "out", validation=place / "val.csv", test=place / "test.csv", max_loss="20"
    )  # fmt: skip
    tries = len(result["search"]["candidates"])
    assert asked == [300, 200, *[300] * tries, 200]


def test_seeds_split_rows_in_other_ways(place: Path) -> None:
    source = find_model(str(place / "dense"))
    one, two = (judge(source, target(place, None), seed).choosing.data["text"] for seed in (0, 1))
    assert list(one) != list(two)


def test_the_interval_covers_what_other_rows_say() -> None:
    """Of a loss of 4 points, by as many rows, in about 95 of 100 samples."""
    draw = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        dense = draw.random((2, 300)) < 0.9
        small = dense & (draw.random((2, 300)) < 1 - 0.04 / 0.9)
        low, high = interval(
            lambda i: float(dense[0, i].mean()), lambda i: float(small[0, i].mean()), 300, seed  # noqa: B023
        )  # fmt: skip
        inside += low <= 100 * (dense[1].mean() - small[1].mean()) <= high
    assert 88 <= inside <= 99


def test_percent_are_of_the_dense_score(place: Path) -> None:
    how = Measured(validation=place / "val.csv")
    made = judge(find_model(str(place / "dense")), Target(10, True, how, None), 0)
    assert made.allowed == pytest.approx(10 * made.choosing.scores["accuracy"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_loss": "0", "task": "sst2"}, "--max-loss '0' is not"),
        ({"max_loss": "101", "task": "sst2"}, "--max-loss '101' is not"),
        ({"max_loss": "little", "task": "sst2"}, "--max-loss 'little' is not"),
        ({"max_loss": "1"}, "give either --task, for GLUE, or --validation FILE"),
        ({"max_loss": "1", "task": "sst2", "keep": 0.5}, "leave out --keep"),
        ({"max_loss": "1", "task": "sst2", "max_mb": 20.0}, "leave out --max-mb"),
        ({"max_loss": "1", "task": "sst2", "dry_run": True}, "--dry-run has no effect with --max-loss"),
        ({"max_loss": "1", "task": "sst2", "dry_run": True, "rank_multiple": 8}, "--dry-run has no effect"),
        ({"max_loss": "1", "task": "sst2", "test": "x.csv"}, "--test has no effect without --validation"),
        ({"keep": 0.5, "task": "sst2"}, "--task has no effect without a goal"),
        ({"max_loss": "1", "task": "sst2", "min_similarity": 0.9}, "Give either --max-loss, which needs labels, or"),
        ({"min_similarity": 0.9}, "give --calibration, and a --criterion that looks at it"),
        ({"min_similarity": 0.9, "calibration": "sst2", "task": "sst2"}, "--task has no effect without --max-loss"),
        ({"min_similarity": 1.5, "calibration": "sst2"}, "--min-similarity 1.5 is not a fraction between 0 and 1"),
        ({"min_similarity": 0.9, "calibration": "sst2", "batch_size": 2}, "--batch-size has no effect without"),
        ({"max_loss": "1", "task": "sst2", "heal_steps": 5}, "--heal-steps has no effect without --heal"),
        ({"max_ms": 5.0, "heal": "x.csv"}, "--heal has no effect with --max-ms alone"),
        ({"max_ms": 5.0, "rank": 3}, "--max-ms looks for the budget: leave out --rank"),
        ({"max_ms": 0.0}, "--max-ms 0.0 is not above 0"),
        ({"keep": 0.5, "budget_seconds": 9.0}, "--budget-seconds has no effect without a goal"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        factcli.convert(str(place / "dense"), tmp_path / "out", data_dir=place / "glue", **options)
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_too_few(place: Path, tmp_path: Path) -> None:
    with pytest.raises(FactcliError, match=r"cannot be told on 10 rows, of which one is 10\.00 points"):
        factcli.convert(str(place / "dense"), tmp_path / "out", validation=place / "few.csv", max_loss="0.5")
    two = write_csv(tmp_path / "two.csv", labelled(2, 13))
    with pytest.raises(FactcliError, match="--max-loss needs some hundred rows"):
        factcli.convert(str(place / "dense"), tmp_path / "out", validation=two, max_loss="0.5")
    assert list(tmp_path.iterdir()) == [two]


def test_rankings_have_no_rows_that_count_alone(tmp_path: Path) -> None:
    save_model(tmp_path / "reranker", "bert", "BertForSequenceClassification", num_labels=1)
    pairs = [(f"w{i // 4}", f"w{i} w{i + 1}", str(i % 2)) for i in range(40)]
    file = write_csv(tmp_path / "pairs.csv", pairs, ("text", "text_pair", "label"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FactcliError, match="give --keep for rankings and tags, and measure with 'factcli eval'"):
        factcli.convert(str(tmp_path / "reranker"), tmp_path / "out", validation=file, max_loss="1")
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_has_nothing_to_lose(place: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "new", "bert", "BertForSequenceClassification", id2label={0: "negative", 1: "positive"})
    with pytest.raises(FactcliError, match="there is nothing to lose"):
        factcli.convert(str(tmp_path / "new"), tmp_path / "out", validation=place / "val.csv", max_loss="1")


def test_a_goal_that_nothing_meets(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best that was is said, and nothing is left."""
    monkeypatch.setattr(bisection, "LARGEST", 0.07)
    with pytest.raises(
        FactcliError, match=r"No budget loses at most 0.5 points: the least was [0-9.]+ points, at 0\.\d+"
    ):
        factcli.convert(
            str(place / "dense"), tmp_path / "out", validation=place / "val.csv", test=place / "test.csv",
            max_loss="0.5",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_notes_are_made_once(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many models are measured, and none names the place where they are made."""
    monkeypatch.setattr(bisection, "STEPS", 2)
    factcli.convert(str(place / "dense"), tmp_path / "out", task="sst2", data_dir=place / "glue", max_loss="40")
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said)) > 0
    assert not [text for text in said if ".partial" in text]


def test_on_the_command_line(place: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli(
        "convert", str(place / "dense"), "-o", str(tmp_path / "out"), "--validation", str(place / "val.csv"),
        "--label-column", "label", "--max-loss", "60%", "--budget-seconds", "0.01", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    search = json.loads(done.stdout)["search"]
    assert search["goal"] == {"max_loss": 60.0, "unit": "percent"}
    assert "150 rows choose, 150 others report" in done.stderr
