"""Results beside a model, and plots, replace their like alone."""

import json
from pathlib import Path

import pytest

import factcli
from factcli.files.written import foreign

from .helpers import FAST, refuse


def test_results_of_others_stay(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    factcli.finetune("models/dense", "out", task="sst2", data_dir="glue", **FAST)
    theirs = '{"eval_accuracy": 0.9}'
    (place / "out" / "eval_results.json").write_text(theirs)
    factcli.evaluate("out", task="sst2", data_dir="glue", device="cpu")
    assert (place / "out" / "eval_results.json").read_text() == theirs
    assert "is not of factcli and stays as it is" in caplog.text
    (place / "out" / "eval_results.json").unlink()
    factcli.evaluate("out", task="sst2", data_dir="glue", device="cpu", update_card=True)
    assert len(json.loads((place / "out" / "eval_results.json").read_text())) == 1
    assert foreign(place / "out") is None


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_plot_replaces_plots_alone(kind: str, place: Path) -> None:
    photo = place / f"figure.{kind}"
    photo.write_bytes(b"a photo")
    refuse(place, "no plot of factcli's", lambda: factcli.diagnose("models/dense", include=["query"], plot=photo))
    photo.unlink()
    for _ in range(2):
        factcli.diagnose("models/dense", include=["query"], plot=photo)
    photo.unlink()
    photo.mkdir()
    refuse(place, "no plot of factcli's", lambda: factcli.diagnose("models/dense", include=["query"], plot=photo))


def test_a_plot_of_costs_is_two_files(place: Path) -> None:
    (place / "costs.svg").write_text("<svg>drawn by hand</svg>")
    refuse(place, "costs.svg is there", lambda: factcli.bench("models/dense", plot="costs.png"))
