"""Reports and figures: what is wrong with them is said before anything is run, and no file of others is lost."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.measuring.plots import check_plot
from factcli.sweeping.claim import claimed
from factcli.sweeping.layout import Layout, layouts_of, plot_of
from factcli.sweeping.report import check_report, write_reports
from factcli.sweeping.store import Store

from .helpers import write_sweep

LAYOUT = {"rows": "structure", "columns": "keep"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"report": [{"rows": "structure", "colums": "keep"}]}, "unknown key 'colums': did you mean 'columns'?"),
    ({"report": [{"rows": "structure"}]}, "The report 'Results' has no 'columns'"),
    ({"report": [LAYOUT | {"rows": ["structur"]}]}, "the axis 'structur', which no run has: did you mean 'structure'"),
    ({"report": [LAYOUT | {"scale": "100"}]}, "A report has scale: '100', which is not a number."),
    ({"report": [LAYOUT | {"digits": -1}]}, "A report has digits: -1, which is not a count."),
    ({"report": [LAYOUT | {"kind": "scores"}]}, "A report has kind: 'scores', which is not score or failed."),
    ({"report": [LAYOUT | {"paper": [1]}]}, "A report has paper: [1], which is not a mapping."),
    ({"report": [LAYOUT | {"where": {"structure": "Monarc"}}]}, "structure is 'Monarc', which no run has: did you"),
    ({"plot": {"x": "kep"}}, "The plot has the axis 'kep', which no run has: did you mean 'keep'?"),
    ({"plot": {"kind": "share"}}, "The plot has kind: 'share', which is not score or failed."),
    ({"plot": {"z": "keep"}}, "The plot has an unknown key 'z'"),
    ({"exclude": None, "grid": [{"keep": [0.5], "seed": [1]}, {"rank": [2], "seed": [1]}],
      "plot": {"x": "keep", "lines": "rank", "panels": "seed"}},
     "The plot's axes keep, rank and seed are in no run."),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_a_wrong_layout(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    for asked in ({"dry_run": True}, {"output": "out", "ray": "none"}):
        with pytest.raises(UsageError) as refused:
            factcli.sweep(write_sweep(tmp_path, **changes), **asked)
        assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


REPORTS: list[tuple[str, str]] = [
    ("t.json", "--report t.json must end in .md"),
    ("t", "--report t must end in .md"),
    ("out/sweep.md", "--report out/sweep.md would put sweep.json among the sweep's own files"),
    ("out/driver.md", "would put driver.json among the sweep's own files"),
    ("out/results/t.md", "would put t.json among the sweep's own files"),
    ("table.md", "table.json is there and is no report of a sweep"),
    ("README.md", "README.md is there and is no report of a sweep"),
    ("nowhere/t.md", "nowhere is not a directory: make it, or choose another --report"),
]  # fmt: skip


@pytest.mark.parametrize(("report", "said"), REPORTS)
def test_a_report_in_the_place_of_another_file(tmp_path: Path, report: str, said: str) -> None:
    (tmp_path / "out" / "results").mkdir(parents=True)
    mine = {"table.json": '{"rows": [1]}', "README.md": "# Mine\n"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    before = set(tmp_path.rglob("*"))
    file = write_sweep(tmp_path)
    with pytest.raises(FactcliError) as refused:
        factcli.sweep(file, "out", ray="none", report=report)
    assert said in str(refused.value)
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert set(tmp_path.rglob("*")) == before | {file}


def test_a_plot_may_go_into_the_folder_that_the_sweep_makes(tmp_path: Path) -> None:
    """As a report does ; no other folder is made, nor that one by --status."""
    file = write_sweep(tmp_path)
    for plot, status in (("other/p.png", False), ("out/p.png", True)):
        with pytest.raises(FactcliError, match="is not a directory: make it, or choose another --plot"):
            factcli.sweep(file, "out", plot=plot, status=status)
    assert not (tmp_path / "out").exists()
    check_plot(tmp_path / "out" / "p.png", made="out")


def test_status_replaces_its_own_report_alone(tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    for _ in range(2):
        factcli.sweep(file, "out", status=True, report="table.md")
    assert json.loads((tmp_path / "table.json").read_text())["tables"]
    assert not (tmp_path / "out").exists()


def test_a_plan_is_written_by_the_driver_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    store.make()
    with claimed(store):
        store.write("sweep.json", {"runs": []})
        with pytest.raises(FactcliError, match="Another sweep is at work on out"):
            factcli.sweep(write_sweep(tmp_path), "out", ray="none")
        assert store.read("sweep.json") == {"runs": []}


def run(score: float, **labels: str) -> dict[str, Any]:
    result = {"metrics": {"accuracy": score}, "failed_run": False}
    return {"id": str(labels), "name": str(labels), "labels": labels, "state": "done", "result": result, "options": {}}


def test_seeds_alone(tmp_path: Path) -> None:
    runs = [run(score, seed=seed) for seed, score in (("1", 0.5), ("2", 0.75), ("3", 0.25))]
    write_reports(runs, {"runs": runs}, tmp_path / "t.md", tmp_path / "p.png")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert "| 2 |  | 75.0 (2) |  | - | - | 0 of 1 |" in lines
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_a_table_without_rows(tmp_path: Path) -> None:
    runs = [run(0.5, task="rte"), run(0.75, task="mrpc")]
    plan = {"runs": runs, "report": [{"columns": "task", "paper": {"mrpc": 80.1}}]}
    write_reports(runs, plan, tmp_path / "t.md", tmp_path / "p.png")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert "| rte | mrpc | mean of all | mean of successful | failed runs |" in lines
    assert "| 50.0 (0) | 75.0 (0) | 62.5 | 62.5 | 0 of 2 |" in lines
    assert "| - | *80.1* | - | - | - |" in lines
    plot = plot_of(plan, layouts_of(plan, runs), runs)
    assert plot.axes == ("task", "task", "task")


def test_layouts_of_the_sweeps_that_are_there() -> None:
    """A scale and digits as given; labels as text, whatever they are in the file."""
    runs = [run(0.5, keep="0.5", task="rte")]
    values = yaml.safe_load("{columns: task, rows: keep, where: {keep: 0.5}, scale: 1, digits: 3, text: null}")
    made = Layout.read(values, runs)
    assert (made.rows, made.where, made.scale, made.digits, made.text) == (("keep",), {"keep": ("0.5",)}, 1, 3, "")


def test_a_report_in_the_folder_that_the_sweep_makes(tmp_path: Path) -> None:
    check_report(tmp_path / "new" / "table.md", Store(str(tmp_path / "new")))
    assert not list(tmp_path.iterdir())


def test_a_report_in_a_folder_for_reading_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system says of it: root may write anywhere."""
    (tmp_path / "sealed").mkdir()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "sealed" not in str(path) and may(path, mode))
    with pytest.raises(FactcliError, match=r"sealed is not writable: choose another --report"):
        factcli.sweep(write_sweep(tmp_path), "out", ray="none", report="sealed/t.md")
    assert not (tmp_path / "out").exists()


def test_a_report_whose_name_is_too_long(tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    with pytest.raises(FactcliError, match=r"^Cannot write the report n+\.md: File name too long\.$"):
        factcli.sweep(file, "out", status=True, report=f"{'n' * 250}.md")
    assert list(tmp_path.iterdir()) == [file]


def test_a_score_that_results_lack(tmp_path: Path) -> None:
    """No result had it before the runs were made: what is there stays, for a report with another score."""
    runs = [run(0.5, task="rte")]
    for score in ("metrics.f1", "accuracy", "metrics"):
        plan = {"runs": runs, "report": [{"columns": "task", "score": score}]}
        with pytest.raises(UsageError, match=rf"score '{score}' is no number in the result of \{{'task': 'rte'\}}"):
            write_reports(runs, plan, tmp_path / "t.md", None)
    assert not list(tmp_path.iterdir())
