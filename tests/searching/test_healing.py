"""Candidates that learn: on which texts, of which models, and after a kill in the midst of it."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.calibration.data import CalibrationOptions
from factcli.errors import FactcliError, UsageError
from factcli.models.model import find_model
from factcli.searching import bisection
from factcli.searching.healing import options_for, read_healing
from factcli.searching.likeness import likeness

from ..processes import Python
from ..training_helpers import rows, save_model, write_csv

KILLED = """
import json, os, signal, sys
import torch
import factcli
from factcli.searching import bisection

bisection.STEPS, done, step = 2, [], torch.optim.AdamW.step

def then_die(self, *given, **named):
    done.append(1)
    if len(done) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *given, **named)

torch.optim.AdamW.step = then_die
model, output, options = json.loads(sys.argv[1])
factcli.convert(model, output, **options)
"""
CLASSES = "BertForSequenceClassification"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of classes; texts to calibrate and compare on; a file with labels of which 30 texts are among these."""
    folder = tmp_path_factory.mktemp("healing")
    save_model(folder / "dense", "bert", CLASSES, initializer_range=0.3)
    texts = [text for text, _ in rows(200, 3)]
    write_csv(folder / "texts.csv", [(text,) for text in texts], ("text",))
    write_csv(folder / "labelled.csv", [*((text, "yes") for text in texts[:30]), *rows(40, 9)])
    return folder


def given(place: Path, **more: Any) -> dict[str, Any]:
    return {
        "min_similarity": 0.05, "calibration": str(place / "texts.csv"), "calibration_samples": 64, "heal_steps": 2,
        "heal": str(place / "labelled.csv"), "device": "cpu", **more,
    }  # fmt: skip


def test_a_search_that_was_killed_in_a_training_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Python
) -> None:
    monkeypatch.setattr(bisection, "STEPS", 2)
    asked = json.dumps([str(place / "dense"), str(tmp_path / "small"), given(place)])
    done = python.run("-c", KILLED, asked)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = tmp_path / "small-search"
    before = json.loads((left / "search.json").read_text())["candidates"]
    assert len(before) == 1
    assert list(left.glob("*-healing/small-checkpoints/run.json"))
    found = factcli.convert(str(place / "dense"), tmp_path / "small", **given(place))
    assert found["search"]["candidates"][0] == before[0]
    assert len(found["search"]["candidates"]) == 2
    assert found["search"]["healing"]["steps"] == 2
    assert not left.exists()


def test_embeddings_are_healed_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a file that has labels, which nobody reads; it is said that tokens are counted in all texts."""
    monkeypatch.setattr(bisection, "STEPS", 1)
    found = factcli.convert(str(place / "dense"), tmp_path / "small", embeddings="factorize", **given(place))
    assert found["search"]["healing"]["steps"] == 2
    small = factcli.load(str(tmp_path / "small"))
    assert "FactorizedEmbedding" in {type(module).__name__ for module in small.modules()} or any(
        "embedding" in name for name in small.config.factorization["layers"]
    )
    recipe = (tmp_path / "small" / "factcli_recipe.yaml").read_text()
    assert "train: labelled.jsonl" in recipe
    assert "model: dense" in recipe
    card = (tmp_path / "small" / "README.md").read_text()
    assert "healing" not in card
    assert "name: small" in card
    said = [record.message for record in caplog.records]
    assert any("how often tokens occur is counted in all texts of the file" in text for text in said)
    assert any("are among those that choose or report: no candidate learns on them" in text for text in said)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_no_text_that_chooses_or_reports_is_learnt_on(place: Path) -> None:
    source = find_model(str(place / "dense"))
    options = CalibrationOptions(str(place / "texts.csv"), 64)
    judging = likeness(source, 0.9, replace(options, samples=2000), [options])
    read = [tuple(f["input_ids"]) for half in (judging.choosing, judging.reporting) for f in half]
    held = {source.tokenizer.decode(ids, skip_special_tokens=True) for ids in read}
    whole = read_healing(place / "labelled.csv", 2, ())
    assert len(whole.rows) == 70
    wanted = [row for row in whole.rows if row[0] not in held]
    assert 40 < len(wanted) < 70
    assert whole.apart(source, judging).rows == wanted
    with pytest.raises(FactcliError, match="has no texts beside those that choose and report"):
        replace(whole, rows=[(text,) for text in held]).apart(source, judging)


def test_an_encoder_and_decoder_learns_its_logits(place: Path, tmp_path: Path) -> None:
    """Hidden states are not asked for, which would be refused in the midst of a search."""
    t5 = str(save_model(tmp_path / "t5", "t5", "T5ForSequenceClassification"))
    told = factcli.finetune(
        t5, tmp_path / "small", teacher=t5, train=read_healing(place / "labelled.csv", 1, ()).write(tmp_path / "heal"),
        max_steps=1, save_steps=0, device="cpu", **options_for(find_model(t5)),
    )  # fmt: skip
    assert told["steps"] == 1
    assert options_for(find_model(str(place / "dense"))) == {}


def test_what_cannot_learn_is_refused_before_any_work(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("text\n")
    write_csv(tmp_path / "same.csv", [("w1 w2",)] * 3, ("text",))
    save_model(tmp_path / "spans", "bert", "BertForQuestionAnswering")
    for model, heal, said in (
        ("dense", "absent.csv", "absent.csv"),
        ("dense", "empty.csv", "empty.csv"),
        ("dense", "same.csv", "are all the same"),
        ("spans", "labelled.csv", "which finetune does not teach"),
    ):
        folder = place if (place / heal).exists() else tmp_path
        asked = given(place, heal=str(folder / heal), calibration=str(tmp_path / "looked-at-later.csv"))
        with pytest.raises(FactcliError, match=said):
            factcli.convert(str((tmp_path if model == "spans" else place) / model), tmp_path / "out", **asked)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"max_loss": "1", "validation": "labelled.csv", "vocabulary": "labelled.csv"},
            "--vocabulary and --validation",
        ),
        ({"max_ms": 5.0, "device": "cuda"}, "--max-ms times passes on the CPU: leave out --device cuda"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str, place: Path, tmp_path: Path) -> None:
    asked = {k: str(place / v) if str(v).endswith(".csv") else v for k, v in options.items()}
    with pytest.raises(UsageError, match=said):
        factcli.convert(str(place / "dense"), tmp_path / "out", **asked)
