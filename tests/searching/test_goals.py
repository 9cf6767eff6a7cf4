"""The goals beside --max-loss: likeness, milliseconds; healing, the time of a search, and how a killed one goes on."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factcli
from factcli.calibration.data import CalibrationOptions, load_examples
from factcli.errors import FactcliError, UsageError
from factcli.measuring.likeness import NOTHING, alike
from factcli.models.fit import find_fit
from factcli.models.model import find_model
from factcli.searching import bisection
from factcli.searching.bisection import Candidate, bisect
from factcli.searching.likeness import likeness

from ..conftest import Run
from ..processes import Python
from ..training_helpers import FAST, rows, save_model, write_csv

KINDS = {
    "class": ("bert", "BertForSequenceClassification", {}),
    "labels": (
        "bert",
        "BertForSequenceClassification",
        {"problem_type": "multi_label_classification", "num_labels": 3},
    ),
    "number": ("bert", "BertForSequenceClassification", {"num_labels": 1}),
    "token": ("bert", "BertForTokenClassification", {"num_labels": 3}),
    "masked": ("bert", "BertForMaskedLM", {}),
    "next": ("gpt2", "GPT2LMHeadModel", {}),
    "hidden": ("bert", None, {}),
}

KILLED = """
import json, os, signal, sys
import factcli
from factcli.searching.journal import Journal

add = Journal.add

def then_die(self, candidate):
    add(self, candidate)
    if len(self._found) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.add = then_die
model, output, options = json.loads(sys.argv[1])
factcli.convert(model, output, **options)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a head, one of classes that was trained, and texts."""
    folder = tmp_path_factory.mktemp("goals")
    save_model(folder / "base", initializer_range=0.3)
    write_csv(folder / "texts.csv", [(text,) for text, _ in rows(600, 3)], ("text",))
    write_csv(folder / "others.csv", [(text,) for text, _ in rows(64, 9)], ("text",))
    write_csv(folder / "train.csv", rows(256, 4))
    write_csv(folder / "validation.csv", rows(200, 5))
    factcli.finetune(
        str(folder / "base"), folder / "dense", train=folder / "train.csv", validation=folder / "validation.csv",
        epochs=6, seed=1, **FAST,
    )  # fmt: skip
    return folder


def texts(place: Path) -> dict[str, Any]:
    return {"calibration": str(place / "texts.csv"), "calibration_samples": 64}


def options(place: Path) -> CalibrationOptions:
    return CalibrationOptions(str(place / "texts.csv"), 64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_wholly_like_itself(kind: str, place: Path, tmp_path: Path) -> None:
    """Whatever it answers, and a shaken one is less so, on halves that hold none of what was calibrated on."""
    name, head, changes = KINDS[kind]
    save_model(tmp_path / "one", name, head, initializer_range=0.5, **changes)
    save_model(tmp_path / "other", name, head, initializer_range=0.1, **changes)
    source = find_model(str(tmp_path / "one"))
    made = likeness(source, 0.9, replace(options(place), samples=2000), [options(place)])
    assert made.purpose.kind == kind
    assert made.lost(source, None) == pytest.approx(0, abs=1e-4)
    assert made.lost(find_model(str(tmp_path / "other")), None) > 1
    fit = find_fit(source.load().model, source.tokenizer, "x")
    drawn = {e.ids for e in load_examples(options(place), fit, source.config, False)}
    halves = [{tuple(f["input_ids"]) for f in half} for half in (made.choosing, made.reporting)]
    assert not halves[0] & halves[1]
    assert not drawn & (halves[0] | halves[1])
    assert sum(map(len, halves)) == len({text for text, _ in rows(600, 3)}) - 64


def test_a_tagger_on_lists_of_words(place: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "one", "bert", "BertForTokenClassification", num_labels=3)
    lines = [json.dumps({"tokens": text.split()}) for text, _ in rows(100, 3)]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    source = find_model(str(tmp_path / "one"))
    asked = CalibrationOptions(str(tmp_path / "words.jsonl"), 40, text_column=("tokens",))
    assert likeness(source, 0.9, replace(asked, samples=2000), [asked]).lost(source, None) == pytest.approx(0)


def test_likeness_by_hand() -> None:
    three = np.arange(3)
    vectors = np.array([[1.0, 0], [0, 2], [1, 1]])
    others = np.array([[3.0, 0], [1, 0], [1, 1]])
    assert alike("embedding", vectors, others)(three) == pytest.approx(2 / 3)
    assert alike("embedding", vectors, others)(np.array([1, 1])) == pytest.approx(0)
    tokens = np.array([[1, 2, NOTHING], [1, 1, 1]])
    assert alike("token", tokens, np.array([[1, 0, NOTHING], [1, 1, 1]]))(np.arange(2)) == pytest.approx(0.75)
    assert alike("class", np.array([[1], [0]]), np.array([[1], [1]]))(np.arange(2)) == 0.5
    assert alike("labels", np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]]))(np.arange(2)) == 0.75
    numbers = np.array([[1.0], [2], [4]])
    assert alike("number", numbers, -numbers)(three) == pytest.approx(-1)
    assert alike("number", numbers, np.ones((3, 1)))(three) == 0


def test_the_smallest_that_is_like_enough(place: Path, tmp_path: Path) -> None:
    found = factcli.convert(str(place / "dense"), tmp_path / "small", min_similarity=0.9, **texts(place))
    search = found["search"]
    assert (found["criterion"], found["allocation"]) == ("kfac", "global")
    assert search["goal"] == {"min_similarity": 0.9}
    assert search["metric"] == "agreement"
    good = [one for one in search["candidates"] if one["loss"] <= 10.000001]
    assert search["keep"] == min(one["keep"] for one in good)
    low, high = search["interval"]
    assert low <= search["loss"] <= high
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_an_embedding_model_as_openvino_runs_it(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisection, "STEPS", 2)
    found = factcli.convert(
        str(place / "base"), tmp_path / "small", min_similarity=0.8, format="openvino", precision="int8", **texts(place)
    )  # fmt: skip
    search = found["search"]
    chosen = next(one for one in search["candidates"] if one["keep"] == search["keep"])
    assert chosen["bytes"] == found["runtimes"][0]["bytes"]
    assert search["metric"] == "cosine"
    assert search["loss"] < 25


def test_the_largest_that_is_fast_enough() -> None:
    """By brute force, on a time that grows with size."""
    tried, best = bisect(
        lambda keep: Candidate(keep, 0, None, 1 + 10 * keep, 0), lambda one: (one.ms or 0) <= 4, largest=True
    )
    assert best is not None
    assert 0.3 / 1.07 <= best.keep <= 0.3
    assert best.keep == max(one.keep for one in tried if (one.ms or 0) <= 4)
    _, none = bisect(lambda keep: Candidate(keep, 0, None, 9.0, 0), lambda one: (one.ms or 0) <= 4, largest=True)
    assert none is None


def test_milliseconds_are_measured(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisection, "STEPS", 1)
    found = factcli.convert(
        str(place / "dense"), tmp_path / "small", max_ms=1e5, sequence_length=16, validation=place / "validation.csv",
        max_loss="60",
    )  # fmt: skip
    search = found["search"]
    assert search["goal"] == {"max_loss": 60.0, "unit": "points", "max_ms": 1e5, "batch_size": 1, "sequence_length": 16}
    assert 0 < search["ms"] == search["candidates"][0]["ms"] < 1e5
    assert search["loss"] <= 60
    with pytest.raises(FactcliError, match=r"No budget is as fast as 0.001 ms for 1 x 16 tokens: the fastest took"):
        factcli.convert(str(place / "dense"), tmp_path / "none", max_ms=1e-3, sequence_length=16)
    with pytest.raises(FactcliError, match="--sequence-length"):
        factcli.convert(str(place / "dense"), tmp_path / "none", max_ms=5.0, sequence_length=10**6)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_candidates_are_healed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is found loads elsewhere, with its file for a runtime, and says how it was made."""
    monkeypatch.setattr(bisection, "STEPS", 2)
    found = factcli.convert(
        str(place / "dense"), tmp_path / "small", min_similarity=0.6, heal=place / "others.csv", heal_steps=4,
        format="onnx", **texts(place),
    )  # fmt: skip
    assert found["search"]["healing"]["steps"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["small"]
    assert (tmp_path / "small" / found["runtimes"][0]["path"]).is_file()
    recipe = (tmp_path / "small" / "factcli_recipe.yaml").read_text()
    assert f"keep: {found['search']['keep']}" in recipe
    assert "model: dense" in recipe
    assert str(tmp_path) not in recipe + (tmp_path / "small" / "README.md").read_text()
    assert factcli.load(str(tmp_path / "small")).config.model_type == "factorized_bert"


def test_the_time_of_a_search(place: Path, tmp_path: Path) -> None:
    """It ends after the candidate in whose making the time was up."""
    found = factcli.convert(
        str(place / "dense"), tmp_path / "small", min_similarity=0.01, budget_seconds=1e-6, **texts(place)
    )  # fmt: skip
    assert len(found["search"]["candidates"]) == 1
    with pytest.raises(FactcliError, match=r"No budget in the time has a similarity of 0.9999"):
        factcli.convert(
            str(place / "dense"), tmp_path / "none", min_similarity=0.9999, budget_seconds=1e-6, criterion="activation",
            allocation="uniform", **texts(place),
        )  # fmt: skip


def test_a_search_that_was_killed_goes_on(place: Path, tmp_path: Path, python: Python) -> None:
    """To the same end, without making again what it knows; another search begins anew."""
    given = {"min_similarity": 0.9, **texts(place)}
    whole = factcli.convert(str(place / "dense"), tmp_path / "whole", **given)
    asked = json.dumps([str(place / "dense"), str(tmp_path / "small"), given])
    done = python.run("-c", KILLED, asked)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = tmp_path / "small-search"
    before = json.loads((left / "search.json").read_text())["candidates"]
    assert len(before) == 3
    again = factcli.convert(str(place / "dense"), tmp_path / "small", **given)
    same = (
        [{k: v for k, v in one.items() if k != "seconds"} for one in again["search"]["candidates"]],
        [{k: v for k, v in one.items() if k != "seconds"} for one in whole["search"]["candidates"]],
    )
    assert same[0] == same[1]
    assert again["search"]["candidates"][:3] == before
    for key in ("keep", "loss", "interval"):
        assert again["search"][key] == whole["search"][key]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "small")]
    assert files[0] == files[1]
    assert not left.exists()


def test_a_folder_of_others_is_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "small-search").mkdir()
    (tmp_path / "small-search" / "mine.txt").write_text("mine")
    with pytest.raises(FactcliError, match="small-search is in the way of the folder of a search: move it"):
        factcli.convert(str(place / "dense"), tmp_path / "small", min_similarity=0.9, **texts(place))
    assert (tmp_path / "small-search" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"calibration": "texts.csv", "calibration_samples": 590}, "are needed: give more texts, or fewer"),
        ({"calibration": "texts.csv", "heal": "texts.csv"}, "--heal and --calibration are the same file"),
        ({"calibration": "texts.csv", "vocabulary": "texts.csv"}, "--min-similarity does not go with --vocabulary"),
        ({"calibration": "texts.csv", "criterion": "frobenius"}, "a --criterion that looks at it"),
    ],
)
def test_texts_that_cannot_tell(given: dict[str, Any], said: str, place: Path, tmp_path: Path) -> None:
    found = {k: str(place / v) if str(v).endswith(".csv") else v for k, v in given.items()}
    with pytest.raises((FactcliError, UsageError)) as error:
        factcli.convert(str(place / "dense"), tmp_path / "small", min_similarity=0.9, **found)
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_were_seen_before(place: Path, tmp_path: Path) -> None:
    file = str(place / "validation.csv")
    with pytest.raises(UsageError, match="--calibration and --validation are the same file"):
        factcli.convert(str(place / "dense"), tmp_path / "small", max_loss="5", validation=file, calibration=file)


def test_where_no_name_is_given(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bisection, "STEPS", 1)
    found = factcli.convert(str(place / "dense"), min_similarity=0.01, **texts(place))
    assert found["output"] == "dense-low-rank-min-similarity-0_01"
    assert (tmp_path / found["output"] / "model.safetensors").is_file()


def test_on_the_command_line(place: Path, tmp_path: Path, factcli: Run) -> None:
    """What a person reads of a time, which has nothing lost beside it."""
    done = factcli(
        "convert", str(place / "dense"), "-o", str(tmp_path / "fast"), "--max-ms", "10000", "--sequence-length", "8",
        "--budget-seconds", "0.01",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ms for 1 x 8 tokens." in done.stdout
    assert sum(line.endswith("taken") for line in done.stdout.splitlines()) == 1
    assert "points lost" not in done.stdout
