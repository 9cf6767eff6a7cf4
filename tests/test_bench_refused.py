"""What bench, plots and comparisons without labels cannot do: one sentence, and nothing half written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

import factcli
from factcli.errors import FactcliError

from . import rights, tiny
from .test_bad_input import fail  # noqa: F401  (a fixture)
from .training_helpers import rows, save_model, write_csv

Fail = Callable[..., str]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    tiny.make("bert").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_model_that_reads_no_text(tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    said = fail("bench", tmp_path / "vit", "--runs", "1", "--device", "cpu")
    assert "vit (ViTModel) does not read token ids: bench is for models of text." in said


def test_more_models_than_are_compiled(fail: Fail) -> None:  # noqa: F811
    names = [f"m{i}" for i in range(8)]
    said = fail("bench", *names, "--variant", "compile", "--device", "cpu", code=2)
    assert "--variant compile takes at most 7 models and a baseline: run it twice." in said


def test_answers_that_cannot_be_compared(tmp_path: Path) -> None:
    save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration")
    texts = write_csv(tmp_path / "texts.csv", [(text,) for text, _ in rows(20, 1)], ("text",))
    with pytest.raises(FactcliError, match=r"t5 answers in words: without labels .* Give data with labels\."):
        factcli.frontier(str(tmp_path / "t5"), calibration=str(texts), keeps=0.5, seconds=0, backend="torch")


@pytest.mark.parametrize("command", ["bench", "diagnose"])
def test_no_matplotlib(
    command: str, bert: Path, tmp_path: Path, fail: Fail, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = fail(command, bert, "--plot", tmp_path / "plot.png", "--device", "cpu")
    assert "--plot needs matplotlib: pip install 'factcli[plot]'." in said


def test_no_right_to_write_a_plot(bert: Path, tmp_path: Path, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pytest.importorskip("matplotlib")
    (tmp_path / "closed").mkdir(mode=0o555)
    rights.heed(monkeypatch)
    said = fail("diagnose", bert, "--plot", tmp_path / "closed" / "plot.png", "--device", "cpu")
    assert f"{tmp_path / 'closed'} is not writable: choose another --plot." in said


def test_a_plot_whose_name_the_disk_does_not_take(bert: Path, tmp_path: Path) -> None:
    """That is a note: what was measured is not lost for it."""
    pytest.importorskip("matplotlib")
    result = factcli.diagnose(str(bert), include=["query"], plot=tmp_path / f"{'x' * 300}.png")
    assert len(result["layers"]) == 2
    assert "cannot be written (File name too long): choose another --plot." in result["notes"][-1]
    assert [p.name for p in tmp_path.iterdir()] == ["bert"]
