"""Cards: what the Hub reads of them, what is carried over, and what others wrote in them."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import factcli
from factcli.card.provenance import command_line
from factcli.card.results import update_results, update_speed
from factcli.card.text import BEGIN, END, carried, merge, problems, split_card

from . import tiny
from .training_helpers import rows, save_model, write_csv


def result(accuracy: float) -> dict[str, object]:
    return {"task": "sst2", "split": "validation", "examples": 872, "metrics": {"accuracy": accuracy}, "majority": 0.5}


@pytest.fixture
def card(tmp_path: Path) -> Path:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    (tmp_path / "dense" / "README.md").write_text(
        "---\nlicense: mit\nlanguage: no\ndatasets: [a/b, '/home/me/data']\nmodel-index: []\n---\nOld words.\n"
    )
    factcli.convert(str(tmp_path / "dense"), tmp_path / "small", keep=0.5)
    return tmp_path / "small" / "README.md"


def test_metadata_that_the_hub_accepts(card: Path) -> None:
    update_results(card, [result(0.9)])  # type: ignore[list-item]
    parsed = ModelCard(card.read_text())
    data = parsed.data.to_dict()
    assert data["license"] == "mit"
    assert data["language"] == ["no"]
    assert "datasets" not in data  # one of the source's is no Hub id, and the Hub would refuse the card
    assert "base_model" not in data  # a directory has none
    assert {"factcli", "factorized", "compressed", "low-rank"} <= set(data["tags"])
    assert data["pipeline_tag"] == "feature-extraction"
    (entry,) = parsed.data.eval_results or []
    assert (entry.metric_type, entry.metric_value, entry.dataset_split) == ("accuracy", 0.9, "validation")
    assert problems(split_card(card.read_text())[0]) == []
    assert "Old words" not in card.read_text()


def test_results_and_speed_are_renewed_in_their_place(card: Path) -> None:
    ratio = {"model": "small", "baseline": "/home/me/dense", "batch_size": 1, "sequence_length": 8, "variant": "eager",
             "speedup": 1.5, "flops_ratio": 1.9}  # fmt: skip
    cell = {k: ratio[k] for k in ("model", "batch_size", "sequence_length", "variant")}
    figures = {"baseline": False, "dtype": "float32", "latency_ms": {"median": 1.25}}
    measured = {"device_name": None, "cores": 2, "threads": 1, "torch": "2", "protocol": "rounds", "ratios": [ratio],
                "results": [cell | figures]}  # fmt: skip
    for accuracy in (0.8, 0.9):
        update_results(card, [result(accuracy)])  # type: ignore[list-item]
        update_speed(card, measured, "small")
    text = card.read_text()
    assert text.count("## Results") == text.count("## Speed") == 1
    assert "accuracy 0.9000" in text
    assert "0.8000" not in text
    assert "| 1 x 8 | eager, float32 | 1.25 | 1.50 | dense | 1.90 |" in text
    assert text.index("## Results") < text.index("## Speed") < text.index("## Load") < text.index(END)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"license": False}, "license"),
        ({"language": [1]}, "language"),
        ({"base_model": "./local"}, "base_model"),
        ({"base_model": "C:\\models\\bert"}, "base_model"),
        ({"datasets": ["a/b", "a b"]}, "datasets"),
        ({"model-index": [{"name": "x", "results": [{"task": {}}]}]}, "model-index"),
    ],
)
def test_metadata_that_the_hub_refuses(metadata: dict[str, object], said: str) -> None:
    (problem,) = problems(metadata)
    assert said in problem
    assert said not in carried(metadata)


@pytest.mark.parametrize(
    "theirs", ["", "# Mine\n", "---\ntags: mine\n---\n\n# Mine\n", "---\n: broken\n\t---\n# Mine\n"]
)
def test_merging_again_changes_nothing(theirs: str, card: Path) -> None:
    ours = card.read_text()
    once = merge(theirs, ours)
    assert merge(once, ours) == once
    assert once.count(BEGIN) == once.count(END) == 1
    assert ("# Mine" in once) == ("# Mine" in theirs)
    assert "# dense, factorized" in once


def test_the_card_says_no_path_of_this_machine(card: Path) -> None:
    assert str(card.parent.parent) not in card.read_text()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/opt/env/bin/factcli convert /home/me/secret/bert -o ./out/small", "factcli convert bert -o small"),
        (
            "/site/factcli/__main__.py eval me/small@v1 --data-dir=/data/glue",
            "factcli eval me/small@v1 --data-dir=glue",
        ),
        ("factcli push x hf_abcdefghijkl", "factcli push x ***"),
        ("/usr/bin/pytest tests", None),
    ],
)
def test_the_command_line_without_directories_and_tokens(given: str, shown: str | None) -> None:
    assert command_line(given.split()) == shown


@pytest.mark.parametrize(
    ("index", "refused"),
    [("", False), ("[{results: []}]", False), ("5", True), ("[some text]", True), ("[{results: 5}]", True)],
)
def test_an_index_that_is_none_is_written_anew(index: str, refused: bool, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"---\nmodel-index: {index}\n---\nTheir words.\n")
    said = ["model-index has a result without name, task, dataset or metrics"]
    assert problems(split_card(card.read_text())[0]) == (said if refused else [])
    update_results(card, [result(0.9)])  # type: ignore[list-item]
    metadata, text = split_card(card.read_text())
    assert metadata["model-index"][0]["name"] == tmp_path.name
    assert problems(metadata) == []
    assert "Their words." in text


def test_a_card_that_is_no_text_stays_as_it_is(tmp_path: Path) -> None:
    """What was measured is kept beside it."""
    model = save_model(tmp_path / "m", "bert", "BertForSequenceClassification", id2label={0: "no", 1: "yes"})
    file = write_csv(tmp_path / "d.csv", rows(8, 1))
    (model / "README.md").write_bytes("# Modèle\n".encode("latin-1"))
    with pytest.raises(
        factcli.FactcliError, match=r"README.md cannot be updated \(.utf-8.*\): repair it, or leave out"
    ):
        factcli.evaluate(str(model), validation=file, update_card=True)
    assert (model / "README.md").read_bytes() == b"# Mod\xe8le\n"
    assert (model / "eval_results.json").is_file()
