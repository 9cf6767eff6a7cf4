"""Folders of runs: told from a user's of the same name, and seen under their name when all is done."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.files import atomic as files
from factcli.files.written import foreign

from .helpers import FAST, refuse, tree


@pytest.mark.parametrize("kind", ["checkpoints", "seeds"])
def test_a_directory_of_the_user_s_that_is_called_like_a_run_s(kind: str, place: Path) -> None:
    options: dict[str, Any] = {"task": "sst2", "data_dir": "glue", "overwrite": True} | FAST
    options |= {"seeds": "1"} if kind == "seeds" else {}
    mine = place / f"out-{kind}"
    mine.mkdir()
    for name, text in (("my results.txt", "years"), ("run.json", '{"speed": 1}')):
        (mine / name).write_text(text)
        refuse(
            place, rf"out-{kind} is in the way of a folder of the run and .*: move it",
            lambda: factcli.finetune("models/dense", "out", **options),
        )  # fmt: skip
        (mine / name).unlink()
    (mine / "run.json").write_text('{"training": {}, "versions": {}}')  # a run's, and something more
    (mine / "checkpoint-5").mkdir()
    (mine / "notes.txt").write_text("")
    refuse(place, "holds notes.txt", lambda: factcli.finetune("models/dense", "out", **options))
    (mine / "notes.txt").unlink()
    refuse(
        place, "holds an unfinished run: --resume continues it",
        lambda: factcli.finetune("models/dense", "out", **(options | {"overwrite": False})),
    )  # fmt: skip
    shutil.rmtree(mine)
    mine.write_text("a file")
    refuse(place, "is in the way", lambda: factcli.finetune("models/dense", "out", **options))


def test_several_seeds_replace_nothing_before_the_last_is_done(place: Path) -> None:
    options: dict[str, Any] = {"task": "sst2", "data_dir": "glue", "seeds": "1-2"} | FAST
    refuse(
        place, "is the source",
        lambda: factcli.finetune("models/dense", "models/dense", overwrite=True, **options),
    )  # fmt: skip
    shutil.copytree("models/export", "out")
    before = tree(place / "out")

    def stop(event: Any) -> None:
        if event.kind == "run" and "seed 2" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        factcli.finetune("models/dense", "out", overwrite=True, watch=stop, **options)
    assert tree(place / "out") == before
    runs: list[str] = []
    result = factcli.finetune(
        "models/dense", "out", overwrite=True, resume=True, **options,
        watch=lambda event: runs.append(event.text) if event.kind == "run" else None,
    )  # fmt: skip
    assert runs == ["seed 1, run 1 of 2, done before", "seed 2, run 2 of 2"]
    assert [run["output"] for run in result["runs"]] == ["out/seed-1", "out/seed-2"]
    assert all((place / run["output"] / "model.safetensors").is_file() for run in result["runs"])
    assert sorted(p.name for p in place.iterdir()) == ["glue", "models", "out"]
    assert foreign(place / "out") is None
    (place / "out" / "seed-2" / "notes.txt").write_text("")
    assert foreign(place / "out") is not None


def test_the_phases_write_their_last_words_before_they_are_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def put(new: Path, path: Path, at_once: bool = True) -> None:
        seen.append(tree(new))
        new.rename(path)

    monkeypatch.setattr(files, "put", put)
    options: dict[str, Any] = {"task": "sst2", "data_dir": "glue"} | FAST | {"max_steps": 4}
    result = factcli.finetune("models/dense", "out", prune="taylor", density=0.5, keep=0.5, **options)
    assert len(seen) == 3
    assert seen[-1] == tree(place / "out")
    written = json.loads(seen[-1]["finetune_results.json"])
    apart = {"losses", "validation", "model", "output", "seconds"}
    assert {k: v for k, v in written.items() if k not in apart} == {k: v for k, v in result.items() if k not in apart}
    assert (written["model"], written["output"]) == ("dense", "out")  # without directories
    assert (result["model"], result["steps"], result["pruned"]["steps"]) == ("models/dense", 4, 1)
    assert b"prune: taylor" in seen[-1]["factcli_recipe.yaml"]
    assert sorted(p.name for p in place.iterdir()) == ["glue", "models", "out"]
