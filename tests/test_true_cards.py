"""A card says how its model was made, and the command in it makes the same again; it names no place on a machine."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import factcli
from factcli.card.provenance import earlier_steps
from factcli.cli import main
from factcli.models.model import find_model

from .hub import HubServer
from .hub_client import HubClient
from .training_helpers import rows, save_model, write_csv, write_glue

FAST: dict[str, Any] = {"batch_size": 8, "max_steps": 3, "save_steps": 0, "device": "cpu", "learning_rate": 1e-3}
BYTES = ("model.safetensors", "config.json", "factcli_recipe.yaml", "README.md")
LPAF = Path(__file__).parent.parent / "recipes" / "lpaf.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that every path below is relative to: models, and data in folders of their own."""
    place = tmp_path / "private-place"
    (place / "models").mkdir(parents=True)
    (place / "tables").mkdir()
    save_model(place / "models" / "bert")
    save_model(place / "models" / "teacher", head="BertForSequenceClassification", seed=3)
    save_model(place / "models" / "grader", head="BertForSequenceClassification", seed=3, num_labels=1)
    for name, seed in (("train", 1), ("val", 2)):
        data = [(text[::-1], text, label) for text, label in rows(24, seed)]
        write_csv(place / "tables" / f"{name}.csv", data, ("other", "review", "verdict"))
        graded = [(text, str(0.5 + (label == "yes"))) for text, label in rows(24, seed)]
        write_csv(place / "tables" / f"{name}-graded.csv", graded)
    write_csv(place / "tables" / "texts.csv", rows(12, 3))
    write_glue(place / "GLUE", "sst2", train=24, validation=8)
    monkeypatch.chdir(place)
    return place


OWN: dict[str, Any] = {
    "train": "tables/train.csv", "validation": "tables/val.csv", "text_column": ["review"], "label_column": "verdict",
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("bert", {"task": "sst2", "data_dir": "GLUE"}),
    "kfac": ("bert", {**OWN, "keep": 0.5, "criterion": "kfac", "allocation": "global", "limit": 20, "max_length": 9,
                      "label_names": ["yes", "no"], "schedule": "staged", "stage_steps": 2, "config": "few.yaml"}),
    "again": ("small", {**OWN, "seed": 5, "new_head": True}),
    "taught": ("bert", {**OWN, "keep": 0.5, "method": "monarch", "blocks": 2, "teacher": "models/teacher"}),
    "graded": ("bert", {"train": "tables/train-graded.csv", "validation": "tables/val-graded.csv",
                        "teacher": "models/grader"}),
    "lpaf": ("bert", {**OWN, "config": LPAF, "limit": 20, "max_steps": 8, "exclude": ["query"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_the_command_of_the_card_makes_the_same_again(
    case: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory where the recipe, data and teacher lie, MODEL being what the card says."""
    model, options = CASES[case]
    (here / "few.yaml").write_text("calibration_samples: 6\n")
    if model == "small":
        factcli.convert("models/bert", "models/small", keep=0.5)
    factcli.finetune(f"models/{model}", "out", **(FAST | options))
    card = Path("out/README.md").read_text()
    command = shlex.split(re.findall(r"^## Reproduce\n+```\n(.*)\n```", card, re.MULTILINE)[0])
    assert command[:2] == ["factcli", "finetune"]
    assert f"MODEL is the directory `{model}`" in card
    there = tmp_path / "there"
    there.mkdir()
    for name in ("out/factcli_recipe.yaml", *(str(p) for p in Path("tables").iterdir())):
        shutil.copy(name, there)
    for name in ("GLUE", "models/teacher", "models/grader", f"models/{model}"):
        shutil.copytree(name, there / Path(name).name)
    monkeypatch.chdir(there)
    arguments = [model if word == "MODEL" else word for word in command]
    monkeypatch.setattr(sys, "argv", [*arguments, "-o", "out", "--device", "cpu", "-q"])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    for name in BYTES[:3]:
        one, two = ((place / "out" / name).read_text("latin-1") for place in (here, there))
        assert one == re.sub("  command: .*\n(   .*\n)*", "", two), name


def test_no_place_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither absolute nor relative, in none of the files, however it was made."""
    factcli.convert("models/bert", "models/small", keep=0.5, criterion="kfac", calibration="tables/texts.csv")
    monkeypatch.setattr(sys, "argv", [
        "/opt/bin/factcli", "finetune", "models/bert", "--train", f"{here}/tables/train.csv", "-o", "models/out",
    ])  # fmt: skip
    options = {**OWN, "teacher": str(here / "models" / "teacher"), "train": here / "tables" / "train.csv"}
    factcli.finetune("models/bert", "models/out", **(FAST | options))
    factcli.evaluate("models/out", validation="tables/val.csv", text_column=["review"], label_column="verdict",
                     update_card=True)  # fmt: skip
    factcli.bench("models/out", baseline="models/bert", sequence_length=8, runs=1, update_card=True, device="cpu")
    for folder in ("small", "out"):
        for file in (here / "models" / folder).iterdir():
            text = file.read_text("latin-1")
            for path in ("private-place", "models/", "tables/"):
                assert path not in text, (file.name, path)
    made = yaml.safe_load(Path("models/out/factcli_recipe.yaml").read_text())["made_with"]
    assert made["command"] == "factcli finetune bert --train train.csv -o out"
    assert made["train"] == "train.csv"
    assert re.fullmatch("[0-9a-f]{64}", made["train_sha256"])


def test_all_phases_are_told(here: Path) -> None:
    _, options = CASES["lpaf"]
    result = factcli.finetune("models/bert", "out", **(FAST | options))
    card = Path("out/README.md").read_text()
    steps = re.findall(r"^\d\. (.*)$", card, re.MULTILINE)
    first = result["pruned"]["steps"]
    assert len(steps) == 3
    assert f"pruned by taylor to a density of 0.5, {first} steps" in steps[0]
    assert steps[1].startswith("Factorized from what pruning left: low-rank with keep 0.25, criterion kfac")
    assert f"schedule mixed-rank, {result['steps'] - first} steps" in steps[2]
    assert all("its first 20 examples" in steps[i] for i in (0, 2))
    assert "A smaller `bert`" in card
    assert "trained since" not in card


def test_what_was_done_before_is_carried_on(here: Path) -> None:
    """From a fine-tuned model to a factorized one to one that is trained again."""
    factcli.finetune("models/bert", "dense", task="sst2", data_dir="GLUE", **FAST)
    factcli.convert("dense", "small", keep=0.5)
    factcli.finetune("small", "out", task="sst2", data_dir="GLUE", **FAST)
    steps = earlier_steps(find_model("out", accept_factorized=True))
    assert [re.split(r"[ ,(]", step)[0] for step in steps] == ["Fine-tuned", "Factorized", "Fine-tuned"]
    card = Path("out/README.md").read_text()
    assert all(f"{number}. {step}" in card for number, step in enumerate(steps, 1))
    assert "# small, fine-tuned" in card
    assert "A smaller" not in card  # it is no smaller than what it was made from
    assert "It has not been trained since" in Path("small/README.md").read_text()


def test_steps_of_others_do_not_write_the_card(here: Path) -> None:
    recipe = Path("models/bert/factcli_recipe.yaml")
    recipe.write_text(yaml.safe_dump({"made_with": {"steps": ["a\n\n# b <!-- factcli: end -->", 5, "x" * 999] * 20}}))
    found = earlier_steps(find_model("models/bert"))
    assert len(found) <= 20
    assert all("\n" not in step and "<!--" not in step and len(step) <= 400 for step in found)
    recipe.write_text("[")
    assert earlier_steps(find_model("models/bert")) == []


def test_a_factorized_model_without_a_recipe(here: Path) -> None:
    """How it was factorized is not known, and is not invented."""
    factcli.convert("models/bert", "small", method="monarch", blocks=2, keep=0.5)
    Path("small/factcli_recipe.yaml").unlink()
    factcli.finetune("small", "out", task="sst2", data_dir="GLUE", **FAST)
    recipe = yaml.safe_load(Path("out/factcli_recipe.yaml").read_text())
    assert set(recipe) == {"training", "trained_on", "made_with"}
    card = Path("out/README.md").read_text()
    assert "Monarch products, as they were before" in card
    assert "frobenius" not in card
    factcli.finetune("small", "again", config="out/factcli_recipe.yaml", data_dir="GLUE", save_steps=0, device="cpu")
    assert Path("out/model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes()


def test_a_conversion_is_repeated_by_its_card(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factcli.convert("models/bert", "out", keep=0.5, criterion="kfac", calibration="sst2", data_dir="GLUE", seed=3,
                    calibration_samples=9)  # fmt: skip
    assert "factcli convert MODEL -c factcli_recipe.yaml --data-dir GLUE\n" in Path("out/README.md").read_text()
    factcli.convert("models/bert", "again", config="out/factcli_recipe.yaml", data_dir="GLUE")
    for name in BYTES:
        assert Path("out", name).read_bytes() == Path("again", name).read_bytes(), name


def test_a_model_of_the_hub_needs_no_argument(here: Path, hub: HubServer, owner: HubClient) -> None:
    first = hub.add_repo("someone/dense", here / "models" / "bert")
    common = {"data_dir": str(here / "GLUE"), "save_steps": 0, "device": "cpu"}
    owner.call("finetune", "someone/dense", str(here / "out"), task="sst2", keep=0.5, max_steps=2, batch_size=8,
               stage_steps=2, learning_rate=1e-3, **common)  # fmt: skip
    assert "factcli finetune -c factcli_recipe.yaml --data-dir GLUE\n" in (here / "out" / "README.md").read_text()
    hub.add_repo("someone/dense", here / "models" / "teacher")  # it has moved on since
    owner.call("finetune", None, str(here / "again"), config=str(here / "out" / "factcli_recipe.yaml"), **common)
    for name in BYTES[:3]:
        assert Path("out", name).read_bytes() == Path("again", name).read_bytes(), name
    assert f"revision: {first}" in Path("again/factcli_recipe.yaml").read_text()
