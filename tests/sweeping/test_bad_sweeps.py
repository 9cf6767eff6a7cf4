"""Wrong sweeps and folders are answered in one sentence, before anything is run."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.sweeping import on_ray

from .helpers import write_sweep

GRID = {"keep": [0.5], "seed": [1]}
FILES: list[tuple[dict[str, Any], str]] = [
    ({"grid": {"sed": [1]}}, "has an unknown option 'sed' of finetune: did you mean 'seed'?"),
    ({"grid": {"row": {"a": {"metod": "monarch"}}}}, "a has an unknown option 'metod' of finetune: did you mean"),
    ({"grid": {"output": ["a"]}}, "has 'output', which the sweep sees to itself"),
    ({"grid": {"seed": []}}, "has an empty product: 'seed' has no values"),
    ({"grid": {}}, "has an empty product: its grid names no option"),
    ({"grid": GRID, "exclude": [{"keep": 0.5}]}, "has an empty product: 'exclude' leaves no run"),
    ({"grid": GRID, "exclude": [{"kep": 0.5}]}, "exclude names 'kep', which no grid has: did you mean 'keep'"),
    ({"grid": GRID, "exclude": [{"keep": 0.6}]}, "exclude has keep=0.6: known are 0.5"),
    ({"grid": {"keep": [1.5]}}, "The run keep=1.5 of tiny.yaml: --keep 1.5 is"),
    ({"grid": {"seed": [1, 1]}}, "names a value of 'seed' twice"),
    ({"grid": {"a": {"x": {"keep": 0.5}}, "keep": [0.5]}}, "both 'a' and 'keep' set 'keep'"),
    ({"grids": {}}, "has an unknown key 'grids': did you mean 'grid'?"),
    ({"command": "fintune"}, "has an unknown command 'fintune': did you mean 'finetune'"),
    ({"command": ["eval", "convert"]}, "'eval' makes no model for the command after it"),
    ({"grid": GRID, "options": {"model": "shared:dens"}}, "asks for shared:dens, which is not below 'shared'"),
    ({"grid": GRID, "options": {"model": "{bert}"}}, "has {bert}, which nothing fills in"),
    ({"grid": GRID, "options": {}}, "has no 'model', a directory or Hub id"),
    ({"grid": GRID, "shared": {"dense": {"model": "shared:dense"}}}, "goes in a circle: shared:dense needs itself"),
    ({"grid": {"seed": list(range(5000)), "keep": [0.5, 0.25]}}, "is a product of 10,000 runs: give --yes"),
    ({"command": []}, "tiny.yaml: a run needs a command, and each of them once"),
    ({"command": ["finetune", "finetune"]}, "tiny.yaml: a run needs a command, and each of them once"),
    ({"variables": ["glue"]}, "tiny.yaml: variables must be a mapping such as 'seed: [1, 2, 3]'"),
    ({"exclude": {"keep": 0.5}}, "tiny.yaml: exclude must be a list"),
    ({"grid": GRID, "shared": {"dense": {"command": "eval", "model": "bert"}}},
     "shared:dense makes no model that 'model' could be"),
    ({"grid": GRID, "options": {"model": "bert", "after": "dense"}},
     "'after' names shared parts, such as shared:dense, not 'dense'"),
]  # fmt: skip
ASKED: list[tuple[dict[str, Any], str]] = [
    ({"only": "tsk=sst2"}, "--only 'tsk' is in no run: did you mean 'task'?"),
    ({"only": "keep=0.3"}, "--only keep=0.3: no run has it, known are 0.5, 0.25"),
    ({"only": "keep"}, "is not NAME=VALUE"),
    ({"only": "structure=Monarch,keep=0.25"}, "--only 'structure=Monarch,keep=0.25' leaves no run"),
    ({"set": ("glue",)}, "--set 'glue' is not NAME=VALUE"),
    ({"set": ("glue=[",)}, "--set 'glue=[' has a value that cannot be read"),
    ({"set": ("glu=x",)}, "has no variable 'glu': did you mean 'glue'?"),
    ({"workers": 2, "dry_run": True}, "--workers has no effect where nothing is carried out"),
    ({"workers": 2, "ray": "127.0.0.1:1"}, "--workers has no effect with --ray ADDRESS"),
    ({"dry_run": True, "status": True}, "Give either --dry-run or --status"),
]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("changes", "said"), FILES, ids=[said[:40] for _, said in FILES])
def test_files(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_sweep(tmp_path, **{"exclude": None, **changes})
    with pytest.raises(UsageError) as refused:
        factcli.sweep("tiny.yaml", dry_run=True)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("asked", "said"), ASKED, ids=[said[:40] for _, said in ASKED])
def test_options(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        factcli.sweep(write_sweep(tmp_path), **asked)
    assert said in str(refused.value)
    assert not (tmp_path / "results").exists()


def test_folders(tmp_path: Path) -> None:
    file = write_sweep(tmp_path)
    with pytest.raises(FactcliError, match="There is no sweep in empty"):
        factcli.sweep(output="empty", status=True)
    with pytest.raises(FactcliError, match=r"Cannot use nothing://x"):
        factcli.sweep(file, "nothing://x", ray="none")
    with pytest.raises(FactcliError, match=r"Cannot write to /dev/null/out \(Not a directory\)"):
        factcli.sweep(file, "/dev/null/out", ray="none")
    with pytest.raises(FactcliError, match=r"Cannot write to /proc/out \("):  # for reading only, whoever one is
        factcli.sweep(file, "/proc/out", ray="none")
    (tmp_path / "mine" / "work").mkdir(parents=True)
    (tmp_path / "mine" / "work" / "thesis.tex").write_text("mine")
    with pytest.raises(FactcliError, match="mine holds work, which is not of a sweep: give a folder of its own"):
        factcli.sweep(file, "mine", ray="none")
    assert (tmp_path / "mine" / "work" / "thesis.tex").read_text() == "mine"
    assert os.listdir(tmp_path / "mine") == ["work"]
    with pytest.raises(UsageError, match="Give FILE, a sweep"):
        factcli.sweep(output="out")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([1]))
    with pytest.raises(FactcliError, match=r"The sweep file .*list.yaml must be a mapping"):
        factcli.sweep(tmp_path / "list.yaml")


def test_a_driver_that_has_not_planned_yet(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "driver.json").write_text(json.dumps({"driver": "d", "seen": time.time()}))
    with pytest.raises(FactcliError, match="The sweep in out is about to begin: ask again in a moment"):
        factcli.sweep(output="out", status=True)


def test_a_full_disk(tmp_path: Path) -> None:
    """/dev/full is where nothing fits."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.json").symlink_to("/dev/full")
    from factcli.sweeping.store import Store

    store = Store(str(tmp_path / "out"))
    store.local = None  # written in place, as on a file system without renaming
    with pytest.raises(FactcliError, match=r"\(No space left on device\): make room and call again; results that are"):
        store.write("sweep.json", {"runs": []})


def test_an_address_without_ray(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_sweep(tmp_path)
    caplog.set_level(logging.WARNING)
    with pytest.raises(FactcliError, match=r"No Ray answers at 127.0.0.1:9: start one with 'ray start --head'"):
        factcli.sweep(file, "out", ray="127.0.0.1:9")
    assert os.listdir(tmp_path / "out") == ["sweep.json"]


def test_ray_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(tmp_path)
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(FactcliError, match=r"--ray needs Ray: pip install 'factcli\[ray\]'\."):
        factcli.sweep("tiny.yaml", output=tmp_path / "out", ray="local")
    assert not (tmp_path / "out").exists()
