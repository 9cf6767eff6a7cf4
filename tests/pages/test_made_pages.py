"""Pages that are made from the code are current; sentences that commands say are on the page of errors."""

import json
import re
from pathlib import Path

import pytest

import factcli
from factcli.errors import FactcliError
from pages import __main__ as pages
from pages import errors, hooks, numbers

from ..tiny import make
from ..training_helpers import save_model


def test_pages_from_the_code_are_current() -> None:
    assert not pages.stale(), "run python -m pages"


def pattern(sentence: str) -> re.Pattern[str]:
    """A sentence of the page as what may stand in its place; alternatives stand between ⟨ and ⟩ too."""
    parts = re.split(r"⟨(?:[^⟨⟩]|⟨[^⟨⟩]*⟩)*⟩", sentence)
    return re.compile(".*".join(map(re.escape, parts)))


def test_what_commands_say_is_listed(tmp_path: Path) -> None:
    """Errors met by asking for what cannot be, compared with the page in words and exit code."""
    dense = str(save_model(tmp_path / "dense"))
    make("bert").save_pretrained(tmp_path / "no tokenizer")
    (tmp_path / "broken.yaml").write_text("keep: [")
    (tmp_path / "odd.yaml").write_text("kepe: 0.5")
    (tmp_path / "empty").mkdir()
    asked: list[tuple[str, dict[str, object]]] = [
        (dense, {}),
        (dense, {"keep": 0.5, "rank": 3}),
        (dense, {"keep": 1.5}),
        (dense, {"keep": 0.5, "criterion": "kfac"}),
        (dense, {"keep": 0.5, "blocks": 2}),
        (dense, {"keep": 0.5, "method": "monarch", "blocks": 5}),
        (dense, {"keep": 0.5, "criterion": "k-fac"}),
        (dense, {"params": "44X"}),
        (dense, {"keep": 0.00001}),
        (dense, {"keep": 0.5, "include": "nothing.like.it"}),
        (dense, {"keep": 0.5, "config": str(tmp_path / "broken.yaml")}),
        (dense, {"keep": 0.5, "config": str(tmp_path / "odd.yaml")}),
        (str(tmp_path / "empty"), {"keep": 0.5}),
        (dense, {"keep": 0.5, "criterion": "kfac", "calibration": str(tmp_path / "none.csv")}),
        (dense, {"keep": 0.5, "device": "cuda:77"}),
    ]
    of_values = [errors.Sentence(said, 2, "", "") for said in errors.values().values()]
    listed = [(pattern(one.text), one) for one in [*errors.sentences(), *of_values]]
    for model, options in asked:
        with pytest.raises(FactcliError) as met:
            factcli.convert(model, tmp_path / "out", **options)  # type: ignore[arg-type]
        said, code = " ".join(str(met.value).split()), met.value.exit_code
        found = [one for words, one in listed if words.search(said) and len(re.sub("⟨.*?⟩", "", one.text)) > 12]
        assert any(one.code == code for one in found) or "has no effect" in said, said
    assert not (tmp_path / "out").exists()


def test_every_refusal_in_the_code_is_read() -> None:
    """By another way of counting: the calls that begin a sentence, in the text of the files."""
    text = "".join(
        f.read_text(encoding="utf-8") for f in errors.PACKAGE.rglob("*.py") if f.parent.name != "remote_code"
    )
    calls = re.findall(r"\b(?:FactcliError|UsageError|CheckFailed)\(\s*f?\"([^\"{]{12,})", text)
    page = errors.page()
    assert len(calls) > 100
    assert not [words for words in calls if errors._cell(" ".join(words.split())) not in page]


def test_the_notebook_is_kept_without_outputs() -> None:
    """It is executed as the pages are built; what it printed on somebody's machine is no part of it."""
    book = json.loads(hooks_notebook().read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    for cell in cells:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        compile("".join(cell["source"]), cell["id"], "exec")


def hooks_notebook() -> Path:
    return numbers.ROOT / "docs" / "first-steps.ipynb"


def test_every_how_to_is_in_the_table_of_how_tos() -> None:
    folder = numbers.ROOT / "docs" / "how-to"
    table = (folder / "index.md").read_text(encoding="utf-8")
    written = {page.name for page in folder.glob("*.md")} - {"index.md", "train.md"}
    assert not [name for name in written if f"({name})" not in table]


def test_results_are_listed() -> None:
    index = hooks.index_of_results()
    assert all(f"({page.name})" in index for page in hooks.result_pages())
    assert len(hooks.result_pages()) > 10
