"""factcli sweep in processes of this machine: shared parts, what is missing, kills, reports, other processes' view."""

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import psutil
import pytest

import factcli
from factcli.sweeping import identity

from ..processes import Python
from .helpers import COMMON, kill, make_place, records, start, wait_for_results, what_counts, write_sweep

REPORT = [
    {"title": "Scores", "rows": ["keep", "structure"], "columns": "keep", "paper": {"0.5": {"Monarch": {"0.5": 12.3}}}},
    {"title": "Failed", "rows": "structure", "columns": "keep", "kind": "failed"},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@dataclass(frozen=True)
class Killed:
    """A folder whose sweep lost a worker and then its driver: the names of the results that were there, its totals
    while it was at work, and how another driver was refused then."""

    out: Path
    before: set[str]
    driver: int
    at_work: dict[str, int]
    refused: str


@pytest.fixture(scope="module")
def killed(place: Path, world: dict[str, str]) -> Killed:
    file, out = write_sweep(place, report=REPORT), place / "out"
    driver = start(place, world, file, "-o", out, "--ray", "none", "--workers", "2")
    until = time.monotonic() + 120
    while not (out / "sweep.json").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    while not (at_work := factcli.sweep(output=str(out), status=True)["totals"])["running"]:
        assert time.monotonic() < until
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with pytest.raises(factcli.FactcliError) as refused:
            factcli.sweep(file, str(out), ray="none")
    wait_for_results(out, 1, driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_for_results(out, 3, driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    kill(driver)
    _, alive = psutil.wait_procs(children, 20)
    assert not alive, "workers end with their driver"
    return Killed(out, set(records(out)), driver.pid, at_work, str(refused.value))


def test_one_driver_a_folder(killed: Killed) -> None:
    assert (killed.at_work["runs"], killed.at_work["running"], killed.at_work["failed"]) == (7, 1, 0)
    assert re.search(rf"Another sweep is at work .*process {killed.driver} on", killed.refused)


def test_a_second_call_does_what_is_missing(place: Path, killed: Killed, python: Python) -> None:
    out, before = killed.out, killed.before
    times = {id: (out / "results" / f"{id}.json").stat().st_mtime_ns for id in before}
    assert 3 <= len(before) < 7
    seen = json.loads(python.run("-m", "factcli", "sweep", "--status", "-o", out, "--json").stdout)["totals"]
    assert (seen["runs"], seen["done"], seen["failed"]) == (7, len(before), 0)

    result = factcli.sweep("tiny.yaml", str(out), ray="none", workers=1, report=out / "t.md", plot=out / "p.png")
    assert result["totals"] == {"runs": 7, "planned": 0, "running": 0, "done": 7, "failed": 0}
    assert {id: (out / "results" / f"{id}.json").stat().st_mtime_ns for id in before} == times
    assert not (out / "work").exists()
    assert not (out / "driver.json").exists()

    dense = next(run for run in result["runs"] if not run["labels"])
    assert all(run["after"] == [dense["id"]] for run in result["runs"] if run["labels"])
    model = out / "models" / dense["id"]
    for run in result["runs"]:
        if run["labels"]:
            options = {k: v for k, v in run["options"].items() if k not in ("model", "data_dir")}
            alone = factcli.finetune(
                str(model), place / "alone", overwrite=True, data_dir="glue", save_steps=0, **options
            )
            assert what_counts(alone) == what_counts(run["result"]), run["name"]
    check_report(out, result)
    again = factcli.sweep("tiny.yaml", str(out), ray="none")
    assert again == {"runs": result["runs"], "totals": result["totals"]}


def check_report(out: Path, result: dict[str, list[dict[str, dict[str, str]]]]) -> None:
    scores = [100 * r["result"]["metrics"]["accuracy"] for r in result["runs"]  # type: ignore[index]
              if r["labels"].get("structure") == "Monarch"]  # fmt: skip
    failed = sum(bool(r["result"]["failed_run"]) for r in result["runs"] if r["labels"].get("structure") == "Monarch")
    text = (out / "t.md").read_text()
    cell = f"{mean(scores):.1f} ± {stdev(scores):.1f} (1, 2)"
    kept = "-" if failed == 2 else None
    assert f"| 0.5 | Monarch | {cell} |" in text
    assert f"| {failed} of 2 |" in next(line for line in text.splitlines() if line.startswith("| 0.5 | Monarch |"))
    assert kept is None or f"| {kept} | 2 of 2 |" in text
    assert "| 0.5 | *Monarch, paper* | *12.3* |" in text
    assert "## Failed" in text
    tables = json.loads((out / "t.json").read_text())["tables"]
    row = next(r for r in tables[0]["rows"] if r["row"] == {"keep": "0.5", "structure": "Monarch"})
    assert [100 * score for score in row["cells"]["0.5"]["scores"]] == pytest.approx(scores)
    assert (out / "p.png").read_bytes()[1:4] == b"PNG"


def test_a_folder_of_another_version(
    killed: Killed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(killed.out, out)
    count = len(records(out))
    monkeypatch.setattr(identity, "__version__", "0.0.9")
    identity.code_version.cache_clear()
    try:
        found = factcli.sweep("tiny.yaml", str(out), status=True)
        assert found["totals"]["planned"] == 7
        assert "results of another version of the code" in caplog.text
        assert "are not used: --any-code takes them" in caplog.text
        assert factcli.sweep("tiny.yaml", str(out), status=True, any_code=True)["totals"]["done"] == count
    finally:
        identity.code_version.cache_clear()


def test_commands_one_after_the_other_in_memory(place: Path) -> None:
    """Convert, then what it is worth, without a file of results; a run that fails says why, and once."""
    factcli.finetune("bert", place / "trained", task="sst2", save_steps=0, **COMMON)
    file = write_sweep(
        place, command=["convert", "eval"], shared=None, exclude=None,
        options={"model": "trained", "eval.task": "sst2", "eval.data_dir": "glue", "device": "cpu"},
        grid={"rank": [2, 4], "eval.limit": [8], "rows": {"good": {}, "bad": {"blocks": 2}}},
    )  # fmt: skip
    found = factcli.sweep(file, "memory://tiny", ray="none", workers=1)
    states = {(run["labels"]["rank"], run["labels"]["rows"]): run for run in found["runs"]}
    assert found["totals"]["done"] == found["totals"]["failed"] == 2
    assert states["2", "bad"]["error"].startswith("--blocks has no effect with --method low-rank")
    good = states["4", "good"]["result"]
    plan = factcli.convert("trained", dry_run=True, rank=4)
    assert good["examples"] == 8
    assert good["before"]["convert"]["parameters"] == plan["parameters"]
    assert factcli.sweep(file, "memory://tiny", ray="none")["totals"] == found["totals"]
    with pytest.raises(factcli.FactcliError, match="seen by one process only"):
        factcli.sweep(write_sweep(place), "memory://other", ray="none")


def test_identity(place: Path, tmp_path: Path) -> None:
    """Of options, model and data, wherever they lie; not of how a run goes."""

    def ids(folder: Path) -> list[str]:
        return [run["id"] for run in factcli.sweep(folder / "tiny.yaml", dry_run=True)["runs"]]

    first = ids(write_sweep(place).parent)
    copy = tmp_path / "copy"
    shutil.copytree(place, copy)
    os.chdir(copy)  # the fixture goes back
    assert ids(copy) == first
    write_sweep(copy, options=None, shared={"dense": COMMON | {"model": "bert", "task": "sst2", "data_dir": "glue"}},
                grid={"keep": [0.5], "seed": [1], "model": ["shared:dense"], "task": ["sst2"], "data_dir": ["glue"],
                      **{k: [v] for k, v in COMMON.items() if k != "data_dir"}, "schedule": ["direct"],
                      "method": ["low-rank"], "save_steps": [7]}, exclude=None)  # fmt: skip
    assert ids(copy) == first[:2]
    data = copy / "glue" / "sst2" / "train.parquet"
    shutil.copy(copy / "glue" / "sst2" / "validation.parquet", data)
    assert not set(ids(copy)) & set(first)
