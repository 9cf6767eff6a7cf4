"""Where commands write: what is never replaced, who may write, and what is there after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import factcli
from factcli.errors import CheckFailed, FactcliError
from factcli.files import atomic as files
from factcli.files.outputs import Output, inputs
from factcli.files.written import foreign

from . import tiny
from .training_helpers import save_model, save_tokenizer, write_glue

FAST: dict[str, Any] = {"max_steps": 1, "batch_size": 8, "save_steps": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model and an export of it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "dense")
    factcli.convert(str(folder / "dense"), folder / "export", keep=0.5)
    write_glue(folder / "glue", "sst2", train=16, validation=16)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `here`, in which things run, with two models, data, and what is precious to a user."""
    here = tmp_path / "here"
    shutil.copytree(made, here / "models")
    (here / "models" / "glue").rename(here / "glue")
    (here / "models" / "thesis").mkdir()
    (here / "models" / "thesis" / "chapter1.txt").write_text("years of work")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return here


def tree(folder: Path) -> dict[str, str | bytes | None]:
    """Everything below a folder: contents of files, targets of links."""
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


def refuse(folder: Path, said: str, action: Callable[[], Any]) -> None:
    before = tree(folder)
    with pytest.raises(FactcliError, match=said):
        action()
    assert tree(folder) == before


def write(
    output: Path, text: str = "new", overwrite: bool = False, meanwhile: Callable[[], Any] = lambda: None
) -> None:
    """A whole little model as `output`."""
    with Output(output, overwrite).new() as work:
        (work / "config.json").write_text(json.dumps({"model_type": "bert", "text": text}))
        meanwhile()


def read(output: Path) -> str:
    text: str = json.loads((output / "config.json").read_text())["text"]
    return text


# --- what may not be replaced


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("models", "models holds the source models/dense"),
        ("models/dense", "is the source models/dense"),
        ("models/dense/", "is the source models/dense"),
        ("models/thesis/../dense", "is the source"),
        ("link/dense", "is the source"),
        ("to-dense", "is the source"),
        ("models/dense/small", "lies in the source models/dense: choose an --output outside"),
        ("to-dense/small", "lies in the source"),
        (".", "the directory that this runs in"),
        ("..", "or holds it"),
        ("", "the directory that this runs in"),
        ("/", "or holds it"),
        ("~", "a home directory"),
        ("models/thesis", r"is not a model \(it holds chapter1.txt\)"),
        ("glue", "is not a model"),
        ("round", "symbolic link in a circle"),
        ("models/dense/config.json", "lies in|is a file"),
        ("/proc", "choose an"),
        ("/proc/small", "not writable"),
        ("n" * 250, "File name too long"),
    ],
)
def test_refused_with_overwrite(output: str, said: str, place: Path) -> None:
    (place / "link").symlink_to("models")
    (place / "to-dense").symlink_to(place / "models" / "dense")
    (place / "round").symlink_to("round")
    refuse(
        place.parent, said, lambda: factcli.convert("models/dense", Path(output), keep=0.5, overwrite=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "output", "said"),
    [
        ({"teacher": "models/dense"}, "models/dense", "is the teacher"),
        ({"mixed_with": "models/dense", "schedule": "mixed-rank", "keep": 0.5}, "models", "holds"),
        ({}, "glue", "is --data-dir glue"),
        ({}, "glue/sst2", "lies in --data-dir glue"),
        ({}, "glue/small", "lies in --data-dir glue"),
        ({"config": "models/export/factcli_recipe.yaml"}, "models/export", "holds the recipe"),
        ({"task": None, "train": "old/x.csv", "validation": "old/x.csv"}, "old", "holds the training file old/x.csv"),
    ],
)
def test_finetune_refuses(options: dict[str, Any], output: str, said: str, place: Path) -> None:
    shutil.copytree("models/export", "old")
    (place / "old" / "x.csv").write_text("text,label\ngood,1\nbad,0\n")
    shutil.copytree("models/dense", "source")
    given = {"task": "sst2", "data_dir": "glue", **FAST} | options
    if given["task"] is None:
        del given["data_dir"]
    refuse(place, said, lambda: factcli.finetune("source", output, overwrite=True, **given))


def test_a_calibration_file_and_a_recipe(place: Path) -> None:
    shutil.copytree("models/export", "old")
    (place / "old" / "texts.txt").write_text("good\nbad\n")
    convert = factcli.convert
    refuse(
        place, "holds --calibration old/texts.txt",
        lambda: convert("models/dense", "old", keep=0.5, criterion="kfac", calibration="old/texts.txt", overwrite=True),
    )  # fmt: skip
    refuse(
        place, "holds the recipe", lambda: convert("models/dense", "models/export", overwrite=True,
                                                   config="models/export/factcli_recipe.yaml"),
    )  # fmt: skip


def test_a_source_in_the_folders_of_a_run(place: Path) -> None:
    """--overwrite would clear the folder away in which the source lies."""
    folder = place / "out-checkpoints"
    shutil.copytree("models/dense", folder / "checkpoint-5")
    (folder / "run.json").write_text('{"training": {}, "versions": {}}')
    refuse(
        place, "out-checkpoints holds the source",
        lambda: factcli.finetune("out-checkpoints/checkpoint-5", "out", task="sst2", data_dir="glue", overwrite=True,
                                 **FAST),
    )  # fmt: skip


def test_the_same_directory_under_another_name(place: Path) -> None:
    """As letters of another case are on some disks: no path says that it is the same."""
    (place / "MODELS").mkdir()
    mount = subprocess.run(["mount", "--bind", "models", "MODELS"], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no right to mount: {mount.stderr.strip()}")
    try:
        for output, said in (("MODELS/dense", "is the source"), ("MODELS/dense/new", "lies in the source")):
            refuse(place, said, lambda o=output: factcli.convert("models/dense", o, keep=0.5, overwrite=True))
    finally:
        subprocess.run(["umount", "MODELS"], check=True)


@pytest.mark.parametrize("what", ["notes.txt", "notes.md", ".git/HEAD", "other/config.json", "checkpoint-5/a.bin",
                                  "train.py", "model_old.safetensors", "data/train.csv", "README.md"])  # fmt: skip
def test_a_model_with_something_of_the_user_s_in_it(what: str, place: Path) -> None:
    """README.md: an export has one of its own, save_pretrained writes none."""
    folder = place / "models" / ("export" if what != "README.md" else "dense")
    (folder / what).parent.mkdir(exist_ok=True)
    (folder / what).write_text("{}")
    assert foreign(folder) == f"holds {what}, which neither factcli nor save_pretrained wrote"
    source = place / "source"
    shutil.copytree("models/dense", source)
    refuse(place, f"holds {what}", lambda: factcli.convert(str(source), folder, keep=0.5, overwrite=True))
    refuse(place, "--overwrite does not replace it", lambda: factcli.convert(str(source), folder, keep=0.5))


def test_what_the_libraries_write_is_known(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import TrainingArguments

    for name, kind in {"bert": "bert", "gpt2": "gpt2", "t5": "t5"}.items():
        tiny.make(kind).save_pretrained(tmp_path / name, max_shard_size="20KB")
        save_tokenizer(tmp_path / name)
        torch.save(TrainingArguments(tmp_path, report_to="none"), tmp_path / name / "training_args.bin")
        assert foreign(tmp_path / name) is None, name
    (tmp_path / "empty").mkdir()
    assert foreign(tmp_path / "empty") is None
    save_model(tmp_path / "base")
    SentenceTransformer(str(tmp_path / "base")).save_pretrained(str(tmp_path / "st"), create_model_card=False)
    assert foreign(tmp_path / "st") is None
    (tmp_path / "st" / "1_Pooling" / "mine.txt").write_text("")
    assert foreign(tmp_path / "st") == "holds 1_Pooling/mine.txt, which neither factcli nor save_pretrained wrote"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "config.json").write_text('{"port": 80}')
    assert foreign(tmp_path / "app") == "is not a model (it holds config.json)"
    (tmp_path / "bert" / "more").symlink_to(tmp_path / "gpt2")
    assert str(foreign(tmp_path / "bert")).startswith("holds more")


def test_an_export_is_known_whatever_it_carries(place: Path) -> None:
    (place / "models" / "dense" / "strange.vocab").write_text("a\n")
    for _ in range(2):
        factcli.convert("models/dense", "small", keep=0.5, overwrite=True)
    assert foreign(place / "small") is None
    assert "files" not in factcli.inspect("small")["made_with"]
    recipe = place / "small" / "factcli_recipe.yaml"
    before = recipe.read_bytes()
    shutil.copy(recipe, "recipe.yaml")
    factcli.convert("models/dense", "small", config="recipe.yaml", overwrite=True)
    assert recipe.read_bytes() == before
    recipe.write_text("method: low-rank\n")  # as earlier versions left it
    (place / "small" / "strange.vocab").unlink(missing_ok=True)
    (place / "small" / "eval_results.json").write_text("[]")
    assert foreign(place / "small") is None
    (place / "small" / "README.md").write_text("# Mine")
    assert foreign(place / "small") == "holds README.md, which neither factcli nor save_pretrained wrote"


def test_what_was_signed_is_known(tmp_path: Path) -> None:
    with Output(tmp_path / "out").new() as work:
        (work / "own [code]").mkdir()
        for name in ("config.json", "factcli_recipe.yaml", "own [code]/tokens.bin"):
            (work / name).write_text('{"model_type": "bert"}')
    assert foreign(tmp_path / "out") is None
    (tmp_path / "out" / "own [code]" / "more.bin").write_text("")
    assert foreign(tmp_path / "out") == "holds own [code]/more.bin, which neither factcli nor save_pretrained wrote"


# --- links


def test_a_link_stands_for_what_it_points_to(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "out").symlink_to("disk/model")
    result = factcli.convert("models/dense", "out", keep=0.5)  # what it points to was not there
    assert result["output"] == "out"
    refuse(place, "out exists: give --overwrite", lambda: factcli.convert("models/dense", "out", keep=0.4))
    before = (place / "disk" / "model" / "config.json").read_bytes()
    factcli.convert("models/dense", "out", keep=0.4, overwrite=True)
    assert os.readlink(place / "out") == "disk/model"
    assert (place / "disk" / "model" / "config.json").read_bytes() != before
    assert [p.name for p in (place / "disk").iterdir()] == ["model"]
    assert sorted(p.name for p in place.iterdir()) == ["disk", "glue", "models", "out"]


# --- work is not lost


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def theirs() -> None:
        write(tmp_path / "else", "theirs")
        (tmp_path / "else").rename(out)

    with pytest.raises(FactcliError, match=r"out exists: .* The result is whole in .*out\.new\."):
        write(out, meanwhile=theirs)
    assert read(out) == "theirs"
    with pytest.raises(FactcliError, match=r"out exists and holds notes.txt.* whole in .*out\.new-2\."):
        write(out, overwrite=True, meanwhile=lambda: (out / "notes.txt").write_text("mine"))
    assert (out / "notes.txt").read_text() == "mine"
    assert [read(tmp_path / name) for name in ("out", "out.new", "out.new-2")] == ["theirs", "new", "new"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("exchange", [True, False])
def test_what_overwrite_would_replace_stays_if_the_new_one_is_gone(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out, "old")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)

    def remove() -> None:
        (work,) = tmp_path.glob(".out.*.partial")
        shutil.rmtree(work)

    with pytest.raises(FileNotFoundError):
        write(out, overwrite=True, meanwhile=remove)
    assert read(out) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_check_that_fails_keeps_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")

    def check() -> None:
        raise CheckFailed("Layer 3 differs.")

    for name in ("out.unchecked", "out.unchecked-2"):
        with pytest.raises(CheckFailed, match=rf"Layer 3 differs\. What was written is kept in .*/{name}\."):
            write(out, overwrite=True, meanwhile=check)
        assert read(tmp_path / name) == "new"
    assert read(out) == "old"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_training_whose_export_does_not_come_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export and the checkpoints stay, and --resume has them again."""
    import factcli.training.export as module

    def fails(work: Path, *rest: Any) -> None:
        (work / "config.json").write_text("{}")
        raise CheckFailed("The saved model does not reload.")

    options: dict[str, Any] = {"task": "sst2", "data_dir": "glue"} | FAST | {"save_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_model", fails)
        with pytest.raises(CheckFailed, match=r"kept in out\.unchecked\."):
            factcli.finetune("models/dense", "out", **options)
    assert (place / "out.unchecked" / "config.json").is_file()
    assert (place / "out-checkpoints" / "checkpoint-1").is_dir()
    factcli.finetune("models/dense", "out", resume=True, **options)
    assert sorted(p.name for p in place.iterdir()) == ["glue", "models", "out", "out.unchecked"]


# --- folders of runs


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


# --- results beside a model


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


# --- processes


def start(script: str, *args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip


WRITES = """
import json, os, signal, sys
from factcli.files import atomic as files
from factcli.files.outputs import Output

def kill(): os.kill(os.getpid(), signal.SIGKILL)

MOMENT = sys.argv[2]
rename, rmtree = os.rename, files.shutil.rmtree
renames = []
def counted(a, b, **rest):
    rename(a, b, **rest)
    renames.append(b)
    if MOMENT == f"rename {len(renames)}": kill()
def removing(path, **rest):
    if MOMENT == "removing": kill()
    rmtree(path, **rest)
os.rename, files.shutil.rmtree = counted, removing
if MOMENT.startswith("rename"):
    files._exchange = lambda a, b: False
with Output(sys.argv[1], True).new() as work:
    (work / "config.json").write_text(json.dumps({"model_type": "bert", "text": "new"}))
    if MOMENT == "writing": kill()
    if MOMENT == "waiting": print("at work", flush=True); input()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "there", "recovered"),
    [("writing", "old", "old"), ("rename 1", None, "old"), ("rename 2", "new", "new"), ("rename 3", "new", "new"),
     ("removing", "new", "new")],
)  # fmt: skip
def test_killed(moment: str, there: str | None, recovered: str, tmp_path: Path) -> None:
    """At each moment the old or the new one is whole: under its name, or (where two names cannot change places at once)
    found again by the next who reads or writes."""
    out = tmp_path / "out"
    write(out, "old")
    (tmp_path / "out.other").mkdir()
    (tmp_path / ".out.mine.partial").mkdir()
    others = {"out.other", ".out.mine.partial"}
    process = start(WRITES, out, moment)
    assert process.wait(60) == -signal.SIGKILL
    assert out.is_dir() == (there is not None)
    if there is not None:
        assert read(out) == there
    files.recover_missing(out)
    assert read(out) == recovered
    with Output(out, True).held():
        assert {p.name for p in tmp_path.iterdir()} == {"out", ".out.lock"} | others
        assert read(out) == recovered
    assert {p.name for p in tmp_path.iterdir()} == {"out"} | others


def test_a_model_that_a_kill_left_aside_is_found_by_its_name(place: Path) -> None:
    (place / "models" / "export").rename(place / "models" / ".export.0123456789ab.old")
    assert factcli.inspect("models/export")["model_type"] == "factorized_bert"
    assert sorted(p.name for p in (place / "models").iterdir()) == ["dense", "export", "thesis"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(WRITES, out, "waiting")
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    with pytest.raises(FactcliError, match="out is being written by another process: wait"):
        write(out, "mine", overwrite=True)
    write(tmp_path / "out2", "mine")  # another name is free
    assert process.communicate("\n", timeout=60)[0] == ""
    assert read(out) == "new"
    write(out, "mine", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out2"]
    process = start(WRITES, out, "waiting")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    write(out, "after", overwrite=True)  # the system has freed the lock of who was killed
    assert read(out) == "after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out2"]


def test_several_processes_update_a_file(tmp_path: Path) -> None:
    script = """
import json, sys
from pathlib import Path
from factcli.files import atomic as files
file = Path(sys.argv[1])
for i in range(40):
    with files.updating(file):
        values = json.loads(file.read_text()) if file.is_file() else []
        files.write_json(file, [*values, [sys.argv[2], i]])
"""
    processes = [start(script, tmp_path / "results.json", name) for name in "abc"]
    assert [p.wait(120) for p in processes] == [0, 0, 0]
    assert len(json.loads((tmp_path / "results.json").read_text())) == 120
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_without_locks_what_is_young_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network disks have none: then another process's work is told from a left-over by its age."""

    def none(*_: Any, **__: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    young, old = (tmp_path / f".out.{name * 6}.partial" for name in ("aa", "bb"))
    for folder in (young, old):
        folder.mkdir()
        (folder / "weights").write_text("")
    monkeypatch.setattr(files, "_deserted", lambda path: path == old)
    write(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, "out"]


def test_texts_keep_their_mode_and_leave_nothing(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text("old")
    file.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        files.write_text(file, "half \ud800")
    assert file.read_text() == "old"
    files.write_text(file, "ne\nw")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"ne\nw", 0o640)
    assert [p.name for p in tmp_path.iterdir()] == ["card.md"]


def test_only_what_is_there_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    found = inputs(("the source", tmp_path / "x"), ("the teacher", "someone/model"), ("--train", None))
    assert [each.said for each in found] == [f"the source {tmp_path / 'x'}"]
