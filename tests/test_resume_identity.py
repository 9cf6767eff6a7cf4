"""A run is continued only where it is the same, by content: data, labels, models, options, versions."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import factcli
from factcli.errors import FactcliError
from factcli.training.events import Event

from .training_helpers import rows, save_model, write_csv

COMMON: dict[str, Any] = {"batch_size": 8, "max_steps": 2, "save_steps": 1, "device": "cpu"}
COLUMNS = ("text", "other", "label")
Start = Callable[..., dict[str, Any]]


def stop(event: Event) -> None:
    if event.kind == "checkpoint":
        raise KeyboardInterrupt


def data(file: Path, seed: int, swapped: bool = False) -> Path:
    names = {"yes": "no", "no": "yes"} if swapped else {"yes": "yes", "no": "no"}
    return write_csv(file, [(text, text[::-1], names[label]) for text, label in rows(16, seed)], COLUMNS)


def change(model: Path) -> None:
    """One weight of a model, neither its size nor its name."""
    tensors = load_file(model / "model.safetensors")
    tensors[min(tensors)].view(-1)[0] += 1
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that were interrupted after their first checkpoint: a factorized model that mixes with its dense one and
    has a teacher, and a dense one that is factorized on texts of its own."""
    place = tmp_path_factory.mktemp("identity")
    save_model(place / "dense")
    save_model(place / "teacher", head="BertForSequenceClassification", seed=1)
    factcli.convert(str(place / "dense"), place / "small", keep=0.5)
    data(place / "train.csv", 1), data(place / "val.csv", 2)
    write_csv(place / "texts.csv", rows(12, 3))
    recipe = "keep: 0.5\ncriterion: kfac\ncalibration: {}\ntraining:\n  schedule: direct\n"
    (place / "recipe.yaml").write_text(recipe.format(place / "texts.csv"))
    for start in (mixing, factorizing):
        with pytest.raises(KeyboardInterrupt):
            start(place, watch=stop)
    return place


def mixing(place: Path, **options: Any) -> dict[str, Any]:
    given = {
        "train": place / "train.csv", "validation": place / "val.csv", "schedule": "mixed-rank",
        "mixed_with": str(place / "dense"), "teacher": str(place / "teacher"), **COMMON,
    }  # fmt: skip
    return factcli.finetune(str(place / "small"), place / "mixing", **(given | options))


def factorizing(place: Path, **options: Any) -> dict[str, Any]:
    files = {"train": place / "train.csv", "validation": place / "val.csv", "config": place / "recipe.yaml"}
    return factcli.finetune(str(place / "dense"), place / "factorizing", **(files | COMMON | options))


@pytest.fixture
def place(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it all, to change; where the recipe reads the texts of the copy."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(interrupted), str(tmp_path)))
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("start", "altered", "options", "said"),
    [
        (mixing, lambda p: data(p / "train.csv", 1, swapped=True), {}, "the training data"),
        (mixing, lambda p: data(p / "val.csv", 2, swapped=True), {}, "the validation data"),
        (mixing, lambda p: change(p / "small"), {}, "the model"),
        (mixing, lambda p: edit(p / "small" / "config.json", 'out_prob": 0.1', 'out_prob": 0.2'), {}, "the model"),
        (mixing, lambda p: change(p / "teacher"), {}, "the model of --teacher"),
        (mixing, lambda p: change(p / "dense"), {}, "the model of --mixed-with"),
        (mixing, None, {"text_column": ["other"]},
         "--text-column (not given then, other now), the training data, the validation data"),
        (mixing, None, {"label_names": ["yes", "no"]}, "--label-names (not given then, yes,no now), the training data"),
        (mixing, None, {"limit": 8}, "--limit (not given then, 8 now), the training data"),
        (mixing, None, {"max_steps": 5}, "--max-steps (2 then, 5 now)"),
        (mixing, None, {"seed": 1}, "the seed (0 then, 1 now)"),
        (mixing, None, {"max_length": 8}, "--max-length (64 then, 8 now), the training data"),
        (mixing, None, {"precision": "bfloat16"}, "--precision (float32 then, bfloat16 now)"),
        (mixing, None, {"hidden_weight": 0.0}, "--hidden-weight (1.0 then, 0.0 now)"),
        (factorizing, lambda p: change(p / "dense"), {}, "the model"),
        (factorizing, lambda p: write_csv(p / "texts.csv", rows(12, 4)), {}, "the calibration data"),
        (factorizing, lambda p: edit(p / "recipe.yaml", "keep: 0.5", "keep: 0.4"), {},
         "--keep of the factorization (0.5 then, 0.4 now)"),
        (factorizing, lambda p: edit(p / "recipe.yaml", "criterion: kfac", "criterion: kfac\ncalibration_samples: 6"),
         {}, "--calibration-samples of the factorization (512 then, 6 now)"),
    ],
)  # fmt: skip
def test_another_run_is_not_continued(
    start: Start, altered: Callable[[Path], Any] | None, options: dict[str, Any], said: str, place: Path
) -> None:
    if altered:
        altered(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(FactcliError, match="is of a run with other options or data: ") as error:
        start(place, resume=True, **options)
    assert f"other options or data: {said}" in str(error.value)
    assert str(error.value).endswith("Give the same ones, or start anew with --overwrite.")
    assert sorted(place.rglob("*")) == before


def test_versions_and_processes(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("factcli.card.provenance.__version__", "9.9")
    with pytest.raises(FactcliError) as error:
        factorizing(interrupted, resume=True)
    for said in ("the version of factcli (0.1.0 then, 9.9 now)", "the number of processes (1 then, 2 now)"):
        assert said in str(error.value)


@pytest.mark.parametrize("start", [mixing, factorizing])
def test_the_same_run_is_continued(start: Start, place: Path) -> None:
    """Also where files were only touched, or lie elsewhere."""
    (place / "train.csv").rename(place / "elsewhere.csv")
    shutil.copyfile(place / "elsewhere.csv", place / "train.csv")
    texts: list[str] = []
    start(place, resume=True, watch=lambda event: texts.append(event.text))
    assert "resuming from checkpoint-1" in texts
    assert not (place / f"{start.__name__}-checkpoints").exists()


def test_seeds_that_are_done_are_of_the_same_run(interrupted: Path, tmp_path: Path) -> None:
    dense, files = str(interrupted / "dense"), {"validation": interrupted / "val.csv", "train": tmp_path / "train.csv"}
    shutil.copyfile(interrupted / "train.csv", tmp_path / "train.csv")
    common = COMMON | files | {"save_steps": 0, "max_steps": 1, "seeds": "1-2"}

    def stop_before_the_second(event: Event) -> None:
        if event.text.startswith("seed 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        factcli.finetune(dense, tmp_path / "out", watch=stop_before_the_second, **common)
    data(tmp_path / "train.csv", 1, swapped=True)
    with pytest.raises(FactcliError, match="is of a run with other options or data: the training data"):
        factcli.finetune(dense, tmp_path / "out", resume=True, **common)
    data(tmp_path / "train.csv", 1)
    said: list[str] = []
    result = factcli.finetune(
        dense, tmp_path / "out", resume=True, watch=lambda event: said.append(event.text), **common
    )
    assert "seed 1, run 1 of 2, done before" in said
    assert [(run["seed"], run["output"]) for run in result["runs"]] == [
        (seed, str(tmp_path / "out" / f"seed-{seed}")) for seed in (1, 2)
    ]


def test_the_phases_are_of_the_same_run(interrupted: Path, tmp_path: Path) -> None:
    files = {"validation": interrupted / "val.csv", "train": tmp_path / "train.csv"}
    shutil.copyfile(interrupted / "train.csv", tmp_path / "train.csv")
    common = COMMON | files | {"prune": "magnitude", "density": 0.5, "keep": 0.5}
    with pytest.raises(KeyboardInterrupt):
        factcli.finetune(str(interrupted / "dense"), tmp_path / "out", watch=stop, **common)
    data(tmp_path / "train.csv", 1, swapped=True)
    with pytest.raises(FactcliError, match="out-checkpoints is of a run with other options or data: the training data"):
        factcli.finetune(str(interrupted / "dense"), tmp_path / "out", resume=True, **common)
