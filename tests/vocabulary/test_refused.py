"""Bad input to --vocabulary: one sentence that says what to do, and nothing half written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from factcli import convert

from ..test_bad_input import fail  # noqa: F401  (a fixture)
from . import made

Fail = Callable[..., str]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return made.save("bert", None, tmp_path / "bert")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("texts.txt", "", "texts.txt is empty: give a file with rows"),
        ("texts.txt", " \n\n", "texts.txt has no rows"),
        ("gone.txt", None, "gone.txt is not there: give a file of texts"),
        ("texts.pdf", "text", "is not a kind of file that is read"),
        ("texts.txt", "жлядф щюцши бъдйц\n" * 50, "is in a language that the tokenizer of "),
        ("texts.txt", "a\n.\n1\n" * 9, "hardly any"),
        ("texts.txt", "\u200b\u200e\n" * 20, "turns all of "),
        ("texts.csv", "id,words\n1,river\n", "say which holds the text with --text-column"),
    ],
)
def test_texts(name: str, content: str | None, said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert said in fail("convert", bert, "--vocabulary", tmp_path / name, "-o", tmp_path / "out")


def test_a_size_below_what_must_stay_is_refused_and_the_size_that_is_said_works(
    bert: Path,
    tmp_path: Path,
    fail: Fail,  # noqa: F811
) -> None:
    texts = made.texts(tmp_path / "texts.txt")
    given = ("convert", bert, "--vocabulary", texts, "-o", tmp_path / "out", "--vocabulary-size")
    said = fail(*given, "10")
    assert "--vocabulary-size 10 is less than the " in said
    least = int(said.rpartition("at least ")[2].rstrip(".\n"))
    fail(*given, str(least - 1))
    result = convert(str(bert), tmp_path / "out", vocabulary=texts, vocabulary_size=least)
    assert result["vocabulary"]["after"] == least
    assert made.load(tmp_path / "out").tokenize("rivers") == ["r", *(f"##{c}" for c in "ivers")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vocabulary-size", "100", "--keep", "0.5"], "--vocabulary-size has no effect without --vocabulary"),
        (["--method", "monarch", "--vocabulary", "texts.txt"], "--method has no effect with --vocabulary alone"),
        (["--blocks", "2", "--vocabulary", "texts.txt"], "--blocks has no effect with --vocabulary alone"),
        (["--criterion", "kfac", "--vocabulary", "texts.txt"], "give a budget: --params, --keep, --rank or --max-mb"),
        (["--keep", "0.5", "--rank", "3", "--vocabulary", "texts.txt"], "exactly one of"),
        (["--vocabulary-size", "0", "--vocabulary", "texts.txt"], "--vocabulary-size 0 is below 1"),
        (["--vocabulary", ""], "is empty"),
    ],
)
def test_options(options: list[str], said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    made.texts(tmp_path / "texts.txt")
    paths = [str(tmp_path / o) if o.endswith(".txt") else o for o in options]
    assert said in fail("convert", bert, "-o", tmp_path / "out", *paths, code=2)


def test_a_tokenizer_without_a_fast_form(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    for file in bert.glob("tokenizer*"):
        file.unlink()
    made.texts(tmp_path / "texts.txt")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    (bert / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (bert / "merges.txt").write_text("#version: 0.2\na b\n")
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    said = fail("convert", bert, "--vocabulary", tmp_path / "texts.txt", "-o", tmp_path / "out")
    assert "has a tokenizer without a fast form (CTRLTokenizer)" in said


def test_a_model_without_a_tokenizer(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    for file in bert.glob("tokenizer*"):
        file.unlink()
    said = fail("convert", bert, "--vocabulary", made.texts(tmp_path / "texts.txt"), "-o", tmp_path / "out")
    assert "has no tokenizer" in said


def test_the_texts_stay_as_they_are(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    (tmp_path / "data").mkdir()
    texts = made.texts(tmp_path / "data" / "texts.txt")
    assert "holds --vocabulary" in fail("convert", bert, "--vocabulary", texts, "-o", tmp_path / "data", "--overwrite")
    assert texts.is_file()
