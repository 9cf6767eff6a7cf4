"""frontier: no row that compares is calibrated or trained on, whatever its file; words stay words; nothing is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.data.unlabelled import HELD_OUT as SPLIT
from factcli.errors import FactcliError, UsageError

from .training_helpers import FAST, rows, save_model, write_csv

UNTIMED: dict[str, Any] = {"seconds": 0, "backend": "torch"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    save_model(folder / "bert")
    write_csv(folder / "train.csv", rows(160, 0))
    write_csv(folder / "validation.csv", rows(60, 1))
    write_csv(folder / "both.csv", [*rows(60, 1), *rows(20, 2)])
    data = {"train": folder / "train.csv", "validation": folder / "validation.csv"}
    factcli.finetune(str(folder / "bert"), folder / "dense", epochs=6, **data, **FAST)
    save_model(folder / "tagger", "bert", "BertForTokenClassification", num_labels=3)
    return folder


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_rows_with_labels_heal_nothing(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = factcli.frontier(
        str(place / "dense"), validation=place / "validation.csv", calibration=place / "train.csv",
        heal=place / "both.csv", heal_steps=1, keeps=0.5, ways="kfac", output=tmp_path / "kept", **UNTIMED,
    )  # fmt: skip
    assert [r["healed"] for r in result["results"]] == [False, False, True]
    compared = {text for text, _ in rows(60, 1)}
    healing = {row["text"] for row in read(tmp_path / "kept" / "heal.jsonl")}
    assert healing == {text for text, _ in rows(20, 2)} - compared
    assert "compare the models, and heal none" in caplog.text


@pytest.mark.parametrize("option", ["calibration", "heal"])
def test_the_rows_with_labels_themselves_are_refused(option: str, place: Path) -> None:
    files = {"calibration": place / "train.csv", option: place / "validation.csv"}
    with pytest.raises(UsageError, match=f"--{option} and --validation are the same file"):
        factcli.frontier(str(place / "dense"), validation=place / "validation.csv", **files, **UNTIMED)


def test_lists_of_words_stay_lists(place: Path, tmp_path: Path) -> None:
    words = [text.split() for text, _ in rows(80, 3)]
    lines = [json.dumps({"tokens": one}) for one in [*words, []]]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    result = factcli.frontier(
        str(place / "tagger"), calibration=tmp_path / "words.jsonl", text_column="tokens", keeps=0.5, ways="kfac",
        heal=tmp_path / "words.jsonl", heal_steps=1, output=tmp_path / "kept", **UNTIMED,
    )  # fmt: skip
    made = {
        name: [row["text"] for row in read(tmp_path / "kept" / f"{name}.jsonl")] for name in ("texts", SPLIT, "heal")
    }
    assert sorted(made["texts"] + made[SPLIT]) == sorted(words)
    assert made["heal"] == made["texts"]
    assert [r["healed"] for r in result["results"]] == [False, False, True]
    assert result["results"][0]["score"] == 1


def test_texts_that_all_compare_heal_nothing(place: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "again.csv", rows(60, 1))
    with pytest.raises(FactcliError, match=r"--heal .*again\.csv has no texts beside .*: give others, and more\."):
        factcli.frontier(
            str(place / "dense"), validation=place / "validation.csv", calibration=place / "train.csv",
            heal=tmp_path / "again.csv", heal_steps=1, output=tmp_path / "kept", **UNTIMED,
        )  # fmt: skip
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("found", ["", "{}", '{"results": []}', '{"of": 1'])
def test_a_file_of_that_name_that_is_not_ours_stays(found: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "frontier.json").write_text(found)
    with pytest.raises(FactcliError, match="is not empty, and no comparison"):
        factcli.frontier(str(place / "dense"), calibration=place / "train.csv", output=tmp_path / "kept", **UNTIMED)
    assert (tmp_path / "kept" / "frontier.json").read_text() == found
