"""Results and models on a path that is no directory of this machine."""

import logging
import socket
from pathlib import Path

import pytest

from factcli.commands.sweep import perform
from factcli.sweeping import claim
from factcli.sweeping.drive import known, missing
from factcli.sweeping.identity import code_version
from factcli.sweeping.store import Store
from factcli.sweeping.task import Task
from factcli.sweeping.work import Work, carry_out


def test_a_model_goes_there_and_comes_back(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "inner").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "inner" / "weights").write_bytes(b"123")
    store = Store("memory://sweep-store/a")
    assert not store.has_model("x")
    store.put_model("x", model)
    assert store.has_model("x")
    found = store.get_model("x", tmp_path / "elsewhere")
    assert {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()} == {
        "config.json",
        "inner/weights",
    }
    assert (found / "inner" / "weights").read_bytes() == b"123"


def test_what_is_half_written_is_not_there() -> None:
    store = Store("memory://sweep-store/b")
    store.write("results/one.json", {"state": "done"})
    store.fs.pipe_file(f"{store.root}/results/two.json", b'{"state": "do')
    assert store.read_all("results") == {"one": {"state": "done"}}
    assert store.read("results/two.json") is None


def task(id: str, after: tuple[str, ...] = (), keeps: bool = False) -> Task:
    return Task(id, f"key-{id}", id, {"seed": "1"}, ("finetune",), {}, {}, {}, after, keeps, {})


def test_a_part_is_made_again_only_where_it_is_needed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    tasks = [task("dense", keeps=True), task("longer", ("dense",), True), task("run", ("longer",)), task("other")]
    for id in ("dense", "longer"):
        store.write(f"results/{id}.json", tasks[0].planned() | {"id": id, "key": f"key-{id}", "state": "done"})
    store.write("results/other.json", tasks[3].planned() | {"state": "failed", "error": "diverged"})

    def open_(*wanted: str, retry: bool = False) -> list[str]:
        return [each.id for each in missing(tasks, set(wanted), store, known(store, False), retry)]

    assert open_("other") == []
    assert open_("other", retry=True) == ["other"]
    assert open_("run") == ["dense", "longer", "run"]  # results alone, without models
    (tmp_path / "models" / "longer").mkdir(parents=True)
    (tmp_path / "models" / "longer" / "config.json").write_text("{}")
    assert open_("run") == ["run"]


def test_a_machine_with_another_factcli(tmp_path: Path) -> None:
    work = Work(str(tmp_path), perform, "driver", 1, "0.0.1+01234567")
    record = carry_out(work, task("run"))
    assert (record["state"], record["lasting"]) == ("failed", False)
    assert f"has another factcli ({code_version()}, the sweep's is 0.0.1+01234567): install" in record["error"]
    follows = carry_out(work, task("next", ("run",)), record)
    assert follows["error"].startswith("run failed: ")


def test_a_driver_elsewhere_that_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sign of life is watched before it is taken for dead."""
    monkeypatch.setattr(claim, "BEAT", 0.01)
    monkeypatch.setattr(claim, "PATIENCE", 0.05)
    caplog.set_level(logging.WARNING)
    store = Store(str(tmp_path))
    store.write("driver.json", {"driver": "d", "host": "other", "pid": 1, "seen": 0.0})
    with claim.claimed(store):
        said = f"A driver on other was at work on {tmp_path}: seeing for 0 s whether it still is."
        assert said in caplog.text
        assert store.read("driver.json")["host"] == socket.gethostname()
    assert store.read("driver.json") is None
