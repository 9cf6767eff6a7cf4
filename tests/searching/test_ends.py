"""How a search ends that does not find anything, and what the next one takes up of it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import factcli
from factcli.commands.converting import Conversion
from factcli.commands.searching import _identity
from factcli.errors import FactcliError
from factcli.models.model import find_model
from factcli.recipe.factorizing import Recipe
from factcli.recipe.running import Measured
from factcli.searching import bisection
from factcli.searching.goal import Goals, Latency, Target
from factcli.searching.healing import Healing
from factcli.searching.journal import check_own
from factcli.searching.stopwatch import Until

from ..processes import Python
from ..training_helpers import rows, save_model, write_csv, write_glue

FULL = """
import json, resource, sys
import factcli
from factcli.searching.journal import Journal

add = Journal.add

def then_nothing_fits(self, candidate):
    add(self, candidate)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

Journal.add = then_nothing_fits
model, output, options = json.loads(sys.argv[1])
factcli.convert(model, output, **options)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends")
    save_model(folder / "dense", initializer_range=0.3)
    write_csv(folder / "texts.csv", [(text,) for text, _ in rows(200, 3)], ("text",))
    return folder


def given(place: Path, **more: Any) -> dict[str, Any]:
    return {
        "min_similarity": 0.05, "calibration": str(place / "texts.csv"), "calibration_samples": 64, "device": "cpu",
        **more,
    }  # fmt: skip


def test_where_the_time_is_over_the_same_command_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where the search came to its end nothing is left."""
    asked = given(place, min_similarity=0.99999)
    with pytest.raises(FactcliError, match="No budget in the time"):
        factcli.convert(str(place / "dense"), tmp_path / "small", budget_seconds=1e-6, **asked)
    before = json.loads((tmp_path / "small-search" / "search.json").read_text())["candidates"]
    assert len(before) == 1
    monkeypatch.setattr(bisection, "STEPS", 1)
    monkeypatch.setattr(bisection, "LARGEST", 0.1)
    with pytest.raises(FactcliError, match="No budget has a similarity"):
        factcli.convert(str(place / "dense"), tmp_path / "small", **asked)
    assert list(tmp_path.iterdir()) == []


def test_another_search_does_not_take_up_what_is_known(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for least in (0.99999, 0.99998):
        with pytest.raises(FactcliError, match="No budget in the time"):
            factcli.convert(
                str(place / "dense"), tmp_path / "small", budget_seconds=1e-6, **given(place, min_similarity=least)
            )
    said = f"{tmp_path / 'small-search'} holds another search than this one, which begins anew."
    assert caplog.messages.count(said) == 1
    known = json.loads((tmp_path / "small-search" / "search.json").read_text())
    assert (known["of"]["goal"]["min_similarity"], len(known["candidates"])) == (0.99998, 1)


def test_where_the_disk_is_full_what_is_known_stays(place: Path, tmp_path: Path, python: Python) -> None:
    asked = json.dumps([str(place / "dense"), str(tmp_path / "small"), given(place)])
    done = python.run("-c", FULL, asked)
    assert done.returncode == 1
    assert "is full" in done.stderr
    assert f"What the search knows so far stays in {tmp_path / 'small-search'}" in done.stderr
    assert len(json.loads((tmp_path / "small-search" / "search.json").read_text())["candidates"]) == 1


def test_a_folder_in_which_nothing_is_whole_yet_is_ours(tmp_path: Path) -> None:
    check_own(tmp_path)
    (tmp_path / ".search.json.0123456789ab.partial").touch()
    check_own(tmp_path)
    (tmp_path / ".profile").touch()
    with pytest.raises(FactcliError, match="is in the way"):
        check_own(tmp_path)


def test_where_candidates_are_made_is_said(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the dense model is asked; here there is too little to ask it, so that this needs no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = given(place, calibration_samples=190, device="cuda")
    with pytest.raises(FactcliError, match="has 10, and 40 are needed: give more texts, or fewer"):
        factcli.convert(str(place / "dense"), tmp_path / "small", **asked)
    assert "Candidates are made and measured on cuda; their files for runtimes run on the CPU." in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_time_counts_from_where_the_command_began() -> None:
    assert Until(5, time.perf_counter() - 6).over
    assert not Until(5, time.perf_counter() - 1).over
    assert not Until(None, 0).over


def test_what_a_candidate_depends_on(place: Path, tmp_path: Path) -> None:
    """Columns, the content of GLUE's files, and the threads that passes are timed with."""
    source, glue = find_model(str(place / "dense")), write_glue(tmp_path / "glue", "sst2", train=8, validation=8)
    recipe = Recipe(keep=0.5, criterion="activation", calibration="sst2")
    how = Conversion(recipe, None, glue, torch.device("cpu"))
    target = Target(1.0, False, Measured(task="sst2", data_dir=glue), None)
    plain = Goals(target, None, None, None, None)

    def of(goals: Goals) -> str:
        return json.dumps(_identity(how, source, goals), default=str)

    first, timed = of(plain), Goals(None, None, Latency(5.0, 1, 8), None, None)
    healed = [
        of(Goals(target, None, None, Healing(place / "texts.csv", 2, (name,), True, ()), None)) for name in ("a", "b")
    ]
    assert healed[0] != healed[1]
    threads, before = torch.get_num_threads(), of(timed)
    torch.set_num_threads(threads + 1)
    try:
        assert of(timed) != before
        assert of(plain) == first
    finally:
        torch.set_num_threads(threads)
    for count in ({"train": 9, "validation": 8}, {"train": 9, "validation": 9}):
        write_glue(tmp_path / "glue", "sst2", **count)
        now = of(plain)
        assert now != first
        first = now
