"""An option that has no effect is refused, in every command and from Python; a value of 0 is a value."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import factcli
from factcli.card.provenance import command_line
from factcli.cli import main
from factcli.errors import UsageError
from factcli.recipe.commands import FINETUNE
from factcli.recipe.factorizing import Recipe
from factcli.recipe.file import make_recipe
from factcli.recipe.rules import Rule, idle, refuse_idle, unless
from factcli.recipe.running import Training
from factcli.recipe.training import Settings, make_settings

from .training_helpers import rows, save_model, write_csv, write_glue

Fail = Callable[[str], str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    save_model(folder / "bert")
    save_model(folder / "three", "bert", "BertForSequenceClassification", num_labels=3)
    save_model(folder / "numbers", "bert", "BertForSequenceClassification", num_labels=1)
    save_model(folder / "t5", "t5", "T5ForConditionalGeneration")
    factcli.convert(str(folder / "bert"), folder / "small", keep=0.5)
    write_csv(folder / "d.csv", rows(16, 1))
    write_csv(folder / "numbers.csv", [(text, str(0.5 + (y == "yes"))) for text, y in rows(16, 1)])
    write_glue(folder / "glue", "sst2", train=16, validation=8)
    return folder


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """What is said to the user without stopping."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logging.getLogger("factcli").addHandler(listener := Listener())
    yield said
    logging.getLogger("factcli").removeHandler(listener)


@pytest.fixture
def fail(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs a command line in `place`; checks that it is wrong usage, said in one line, and left nothing."""

    def run(command: str) -> str:
        before = sorted(place.rglob("*"))
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["factcli", *(part.strip("'") for part in command.strip().split(" "))])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capsys.readouterr()
        assert exit_info.value.code == 2, err
        assert (out, err.count("\n")) == ("", 1), err
        assert sorted(place.rglob("*")) == before
        return err.removeprefix("Error: ").strip()

    return run


CONVERT, TRAIN = "convert bert -o out ", "finetune bert -o out --train d.csv --validation d.csv "
GLUE = "finetune bert -o out --task sst2 --data-dir glue "
NO_EFFECT = [  # a command, the option that has no effect in it, why, and what would give it one
    (CONVERT + "--keep 0.5 --blocks 4", "--blocks", "with --method low-rank",
     "take --method block-low-rank or monarch"),
    (CONVERT + "--keep 0.5 --force-rank", "--force-rank", "without --rank", "give the budget as --rank"),
    (CONVERT + "--rank 4 --rank-multiple 8", "--rank-multiple", "with --rank, which says", "--keep, --params or"),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --unseen-tokens 0.1", "--unseen-tokens",
     "without --embeddings factorize", ""),
    (CONVERT + "--keep 0.5 --embeddings factorize --unseen-tokens 0.1", "--unseen-tokens",
     "with --criterion frobenius, which looks at no inputs", "take --criterion"),
    (CONVERT + "--keep 0.5 --solver cg", "--solver", "with --criterion frobenius", "take --criterion fisher"),
    (CONVERT + "--keep 0.5 --criterion sparsity --solver cg", "--solver", "with --criterion sparsity", "fisher"),
    (CONVERT + "--keep 0.5 --sparsity l1", "--sparsity", "with --criterion frobenius", "take --criterion sparsity"),
    (CONVERT + "--keep 0.5 --compensation none", "--compensation", "with --criterion frobenius", "activation or kfac"),
    (CONVERT + "--keep 0.5 --calibration d.csv", "--calibration", "with --criterion frobenius, which looks at", "kfac"),
    (CONVERT + "--keep 0.5 --calibration-samples 4", "--calibration-samples", "with --criterion frobenius", "take"),
    (CONVERT + "--keep 0.5 --fisher empirical", "--fisher", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --max-length 64", "--max-length", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --text-column text", "--text-column", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --label-column label", "--label-column", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --data-dir glue", "--data-dir", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --data-revision main", "--data-revision", "with --criterion frobenius", "take --criterion"),
    (CONVERT + "--keep 0.5 --criterion activation --calibration d.csv --fisher sampled", "--fisher",
     "with --criterion activation, which takes no gradients", "take --criterion kfac, fisher or fisher-rows"),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --label-column label", "--label-column",
     "with --fisher sampled, which reads no labels", "take --fisher empirical"),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --data-dir glue", "--data-dir",
     "with --calibration d.csv, no task of GLUE", ""),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --data-revision main", "--data-revision",
     "with --calibration d.csv, a file", ""),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration sst2 --data-dir glue --data-revision main", "--data-revision",
     "with --data-dir, which is not on the Hub", ""),
    (CONVERT + "--keep 0.5 --criterion kfac --calibration sst2 --text-column sentence", "--text-column",
     "with --calibration sst2, a task of GLUE", ""),
    (CONVERT + "--keep 0.5 --hub-model-id me/x", "--hub-model-id", "without --push-to-hub", "give --push-to-hub"),
    (CONVERT + "--keep 0.5 --public", "--private", "without --push-to-hub", "give --push-to-hub"),
    (CONVERT + "--keep 0.5 --revision main", "--revision", "with bert, a directory", "give a Hub id"),
    ("convert -c small/factcli_recipe.yaml --revision main", "--revision", "without MODEL", "give MODEL"),
    (TRAIN + "--keep 0.5 --schedule direct --stage-steps 5", "--stage-steps", "with --schedule direct", "staged"),
    (TRAIN + "--keep 0.5 --method monarch --order low-to-high", "--order", "with --schedule direct", "staged"),
    (TRAIN + "--keep 0.5 --stages 1 --stage-steps 5", "--stage-steps", "with --stages 1", "give more stages"),
    (TRAIN + "--stages 2", "--stages", "without a budget", "take --schedule staged"),
    (TRAIN.replace("bert", "small") + "--stage-steps 5", "--stage-steps", "with --schedule direct", "staged"),
    (TRAIN + "--keep 0.5 --mixed-with bert", "--mixed-with", "with --schedule staged", "take --schedule mixed-rank"),
    (TRAIN + "--mixed-with bert", "--mixed-with", "without a budget", "take --schedule mixed-rank"),
    (TRAIN + "--prune-scope global", "--prune-scope", "without --prune", "give --prune and --density"),
    (TRAIN + "--temperature 3", "--temperature", "without --teacher", "give --teacher"),
    (TRAIN + "--label-weight 0.5", "--label-weight", "without --teacher", "give --teacher"),
    (TRAIN + "--logit-weight 0.5", "--logit-weight", "without --teacher", "give --teacher"),
    (TRAIN + "--hidden-weight 0", "--hidden-weight", "without --teacher", "give --teacher"),
    (TRAIN + "--attention-weight 0", "--attention-weight", "without --teacher", "give --teacher"),
    (TRAIN + "--teacher three --logit-weight 0 --temperature 3", "--temperature", "with --logit-weight 0", ""),
    (TRAIN.replace("d.csv", "numbers.csv") + "--teacher three --temperature 3", "--temperature", "on numbers", ""),
    (TRAIN.replace("d.csv", "numbers.csv") + "--label-names no,yes", "--label-names", "on numbers", ""),
    (TRAIN + "--data-dir glue", "--data-dir", "with files of your own", "give --task"),
    (TRAIN + "--data-revision main", "--data-revision", "with files of your own", ""),
    (GLUE + "--data-revision main", "--data-revision", "with --data-dir, which is not on the Hub", ""),
    (GLUE + "--text-column sentence", "--text-column", "with --task sst2, whose columns are known", "give --train"),
    (GLUE + "--label-column label", "--label-column", "with --task sst2, whose columns are known", "give --train"),
    (GLUE + "--label-names positive,negative", "--label-names", "on a new head", ""),
    (GLUE.replace("bert", "t5") + "--text-to-text --new-head", "--new-head", "with --text-to-text", ""),
    (GLUE.replace("bert", "t5") + "--text-to-text --label-names positive,negative", "--label-names",
     "for a model that answers in words", ""),
    (TRAIN + "--private", "--private", "without --push-to-hub", "give --push-to-hub"),
    (TRAIN + "--revision main", "--revision", "with bert, a directory", "give a Hub id"),
    ("finetune -c small/factcli_recipe.yaml --revision main --task sst2", "--revision", "without MODEL", "give MODEL"),
    ("eval three --validation d.csv --split train", "--split", "with --validation, a file of your own", "give --task"),
    ("eval three --validation d.csv --data-dir glue", "--data-dir", "with --validation", "give --task"),
    ("eval three --validation d.csv --data-revision main", "--data-revision", "with --validation", "give --task"),
    ("eval three --task sst2 --data-dir glue --data-revision main", "--data-revision", "with --data-dir", ""),
    ("eval three --task sst2 --data-dir glue --text-column a", "--text-column", "with --task sst2",
     "give --validation"),
    ("eval three --task sst2 --data-dir glue --label-column a", "--label-column", "with --task sst2", "give"),
    ("eval three --retrieval glue --label-column a", "--label-column", "with --retrieval", ""),
    ("eval three --retrieval glue --data-revision main", "--data-revision", "with --retrieval DIR", ""),
    ("eval numbers --validation numbers.csv --label-names a,b", "--label-names", "on numbers", ""),
    ("eval t5 --task sst2 --data-dir glue --label-names positive,negative", "--label-names",
     "for a model that answers in words", ""),
    ("eval three --task sst2 --data-dir glue --revision main", "--revision", "with three, a directory", "a Hub id"),
    ("diagnose bert --calibration-samples 8", "--calibration-samples", "without --calibration", "name data"),
    ("diagnose bert --fisher empirical", "--fisher", "without --calibration", "name data"),
    ("diagnose bert --max-length 8", "--max-length", "without --calibration", "name data"),
    ("diagnose bert --text-column text", "--text-column", "without --calibration", "name data"),
    ("diagnose bert --data-dir glue", "--data-dir", "without --calibration", "name data"),
    ("diagnose bert --calibration d.csv --label-column label", "--label-column", "with --fisher sampled", "empirical"),
    ("diagnose bert --calibration d.csv --data-dir glue", "--data-dir", "with --calibration d.csv", ""),
    ("diagnose bert --revision main", "--revision", "with bert, a directory", "give a Hub id"),
    ("inspect small --revision main", "--revision", "with small, a directory", "give a Hub id"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "option", "because", "instead"), NO_EFFECT)
def test_no_effect(command: str, option: str, because: str, instead: str, fail: Fail) -> None:
    said = fail(command)
    assert said.startswith(f"{option} has no effect {because}"), said
    assert ": leave it out" in said
    assert instead in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (CONVERT + "--keep 0", "--keep 0.0 is not a fraction between 0 and 1"),
        (CONVERT + "--keep -1", "--keep -1.0 is not a fraction"),
        (CONVERT + "--keep nan", "--keep nan is not a finite number"),
        (CONVERT + "--keep inf", "--keep inf is not a finite number"),
        (CONVERT + "--rank 0", "--rank 0 is below 1"),
        (CONVERT + "--params 0", "--params 0 is not a positive count"),
        (CONVERT + "--params 1e999", "more than any model has"),
        (CONVERT + "--params ''", "--params is empty"),
        (CONVERT + "--keep 0.5 --method monarch --blocks 0", "--blocks 0 is below 1"),
        (CONVERT + "--keep 0.5 --rank-multiple 0", "--rank-multiple 0 is below 1"),
        (CONVERT + "--keep 0.5 --seed -1", "--seed -1 is not a whole number from 0"),
        (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --calibration-samples 0", "samples 0 is below 1"),
        (CONVERT + "--keep 0.5 --criterion kfac --calibration d.csv --max-length 0", "--max-length 0 is below 1"),
        (CONVERT + "--keep 0.5 --criterion kfac --calibration ''", "--calibration is empty"),
        (CONVERT + "--rank 4 --allocation global --criterion kfac --calibration d.csv", "--rank is one rank for all"),
        (CONVERT + "--keep 0.5 --include ''", "--include is empty"),
        (CONVERT + "--keep 0.5 --device meta", "--device 'meta' is unknown"),
        ("convert bert --keep 0.5 -o ''", "--output is empty"),
        ("convert '' --keep 0.5 -o out", "MODEL is empty"),
        (TRAIN + "--keep 0", "--keep 0.0 is not a fraction between 0 and 1"),
        (TRAIN + "--keep -1", "--keep -1.0 is not a fraction"),
        (TRAIN + "--rank 0", "--rank 0 is below 1"),
        (TRAIN + "--params 0", "--params 0 is not a positive count"),
        (TRAIN + "--method monarch", "exactly one of --params, --keep, --rank and --max-mb, not none"),
        (TRAIN + "--rank 4 --allocation global --criterion kfac", "--rank is one rank for all"),
        (TRAIN + "--epochs 0", "--epochs 0.0 is below 0.001"),
        (TRAIN + "--epochs nan", "--epochs nan is not a finite number"),
        (TRAIN + "--max-steps 0", "--max-steps 0 is below 1"),
        (TRAIN + "--epochs 1 --max-steps 2", "Give --epochs or --max-steps, not both"),
        (TRAIN + "--keep 0.5 --prune taylor --density 0.5 --max-steps 1", "--max-steps 1 is not a step for each"),
        (TRAIN + "--limit 0", "--limit 0 is below 1"),
        (TRAIN + "--save-steps -1", "--save-steps"),
        (TRAIN + "--seed -1", "--seed -1 is not a whole number"),
        (TRAIN + "--seeds 1-99999999999", "has a seed that is not a whole number"),
        (TRAIN + "--seeds 1-4000000", "more than 1000"),
        (TRAIN + "--learning-rate nan", "--learning-rate nan is not a finite number"),
        (TRAIN + "--weight-decay inf", "--weight-decay inf is not a finite number"),
        (TRAIN + "--label-names ''", "--label-names is empty"),
        (TRAIN + "--label-names no,,yes", "--label-names is empty"),
        (TRAIN + "--report-to paper", "--report-to 'paper' is unknown"),
        (TRAIN + "--teacher-cache", "--teacher-cache is for --teacher"),
        (TRAIN + "--task ''", "--task is empty"),
        (TRAIN + "--teacher three --label-weight 0 --logit-weight 0 --hidden-weight 0", "Every weight of the loss"),
        (TRAIN.replace("bert", "") + "", "MODEL is empty"),
        ("finetune -o out --train d.csv --validation d.csv", "Give MODEL"),
        ("eval three --task sst2 --data-dir glue --limit 0", "--limit 0 is below 1"),
        ("eval three --task sst2 --data-dir glue --batch-size 0", "--batch-size 0 is below 1"),
        ("eval three --validation d.csv --text-column ''", "--text-column is empty"),
        ("eval three", "Give either --task"),
        ("eval three --task sst2 --data-dir glue --text-to-text", "does not answer in words"),
        ("bench bert --runs 0", "at least 1"),
        ("bench bert --seconds nan", "--seconds nan is not a finite number"),
        ("bench bert --runs 2 --seconds 3", "either --seconds or --runs"),
        ("bench bert --protocol paper --runs 2", "leave out --batch-size, --seconds and --runs"),
        ("bench bert --dtype int8", "--dtype 'int8' is unknown"),
        ("bench bert --variant ''", "--variant is empty"),
        ("bench bert --device mps", "--device mps is not measured"),
        ("diagnose bert --calibration d.csv --calibration-samples 0", "--calibration-samples 0 is below 1"),
        ("diagnose bert --seed -1", "--seed -1 is not a whole number"),
        ("push small me/x --create-pr --revision main", "leave out --revision and --tag"),
        ("push small ''", "REPO_ID is empty"),
    ],
)  # fmt: skip
def test_zero_and_nothing_are_values(command: str, said: str, fail: Fail) -> None:
    assert said in fail(command)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method: low-rank\nkeep: 0.5\nblocks: 8", "'blocks' in the recipe {} has no effect with --method low-rank"),
        ("keep: 0.5\ncalibration: d.csv", "'calibration' in the recipe {} has no effect with --criterion frobenius"),
        ("keep: 0.5\nforce_rank: true", "'force_rank' in the recipe {} has no effect without --rank"),
        ("keep: 0.5\nrank: 4", "The recipe {} has keep and rank: leave one of them"),
        ("keep: 0", "has keep: 0, which is not a fraction"),
        ("keep: .nan", "has keep: nan, which is not a finite number"),
        ("rank: 4\nallocation: global", "--rank is one rank for all"),
        ("rank: 4.5", "has rank: 4.5, which is not a whole number"),
        ("keep: 0.5\nseed: -1", "has seed: -1, which is not a whole number"),
        ("keep: 0.5\nmethod: ''", "has method: '', which is empty"),
        ("keep: 0.5\ninclude: [1]", "has include: [1], which is not a text or a list of texts"),
    ],
)
def test_of_a_recipe(text: str, said: str, place: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(UsageError) as error:
        factcli.convert(str(place / "bert"), tmp_path / "out", config=recipe)
    assert said.format(recipe) in str(error.value)
    files = {"train": place / "d.csv", "validation": place / "d.csv"}
    with pytest.raises(UsageError) as error:
        factcli.finetune(str(place / "bert"), tmp_path / "out", config=recipe, **files)
    assert said.format(recipe) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{stage_steps: 5, schedule: direct}", "'stage_steps' in the recipe {} has no effect with --schedule direct"),
        ("{temperature: 3}", "'temperature' in the recipe {} has no effect without --teacher"),
        ("{epochs: 3, max_steps: 5}", "has epochs and max_steps: leave one of them"),
        ("{prune_warmup: 0.2}", "'prune_warmup' in the recipe {} has no effect without --prune"),
        ("{consistency: 1}", "'consistency' in the recipe {} has no effect with --schedule staged"),
        ("{max_steps: 2.5}", "has max_steps: 2.5, which is not a whole number"),
        ("{teacher: 5}", "has teacher: 5, which is not a text"),
        ("{text_to_text: 1}", "has text_to_text: 1, which is not true or false"),
        ("{epochz: 1}", "has an unknown key 'epochz', did you mean 'epochs'"),
        ("[epochs]", "a section 'training' that is not a mapping"),
    ],
)
def test_of_the_section_training(text: str, said: str, place: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"keep: 0.5\ntraining: {text}\n")
    files = {"train": place / "d.csv", "validation": place / "d.csv"}
    with pytest.raises(UsageError) as error:
        factcli.finetune(str(place / "bert"), tmp_path / "out", config=recipe, **files)
    assert said.format(recipe) in str(error.value)


def test_a_recipe_without_a_budget_is_not_trained_dense(place: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("criterion: kfac\n")
    files = {"train": place / "d.csv", "validation": place / "d.csv"}
    with pytest.raises(UsageError, match="exactly one of --params, --keep, --rank and --max-mb, not none"):
        factcli.finetune(str(place / "bert"), tmp_path / "out", config=tmp_path / "recipe.yaml", **files)


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("keep: 0.5\nkeep: 0.2\n")
    with pytest.raises(factcli.FactcliError, match="the key 'keep' stands twice"):
        make_recipe(tmp_path / "recipe.yaml", {})


def test_what_an_option_takes_from_a_recipe_is_said(tmp_path: Path, notes: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("method: monarch\nblocks: 2\nkeep: 0.3\n")
    assert make_recipe(recipe, {"method": "low-rank"}).method == "low-rank"
    assert notes == [f"'blocks' in the recipe {recipe} has no effect with --method low-rank."]


def test_a_command_that_does_not_train_says_so(place: Path, tmp_path: Path, notes: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("keep: 0.3\ntraining: {epochs: 3}\n")
    factcli.convert(str(place / "bert"), config=recipe, dry_run=True)
    assert notes == [
        f"The section 'training' of the recipe {recipe} is for 'factcli finetune': nothing is trained here."
    ]


def test_values_that_are_nothing_win_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "rank: 4\nforce_rank: true\ninclude: [query]\nseed: 3\ntraining:\n  text_to_text: true\n  weight_decay: 0.1\n"
        "  epochs: 3\n  seed: 2\n"
    )
    made = make_recipe(recipe, {"force_rank": False, "include": (), "seed": 0})
    assert (made.force_rank, made.include, made.seed) == (False, (), 0)
    settings = make_settings(recipe, {"text_to_text": False, "weight_decay": 0.0, "seed": 0, "max_steps": 5})
    assert (settings.text_to_text, settings.weight_decay, settings.seed, settings.max_steps) == (False, 0.0, 0, 5)
    kept = make_recipe(recipe, {"force_rank": None, "include": None})
    assert (kept.force_rank, kept.include, kept.seed) == (True, ("query",), 3)


def test_seeds() -> None:
    assert FINETUNE.ask({"seeds": "1-3, 7"}).of(Training).seeds == (1, 2, 3, 7)
    for text in ("", "1-", "-1", "3-1", "1,1", "a", "1-2-3"):
        with pytest.raises(UsageError, match="--seeds"):
            FINETUNE.ask({"seeds": text})


def test_what_is_saved_is_what_has_an_effect() -> None:
    assert Recipe(keep=0.5).to_dict() == {
        "method": "low-rank", "keep": 0.5, "criterion": "frobenius", "allocation": "uniform",
    }  # fmt: skip
    saved = Recipe(keep=0.5, criterion="kfac", calibration_samples=8, calibration="mrpc").to_dict()
    assert saved.keys() >= {"calibration", "calibration_samples", "fisher", "compensation"}
    assert not saved.keys() & {"label_column", "text_column", "solver", "blocks"}
    assert "temperature" not in Settings(teacher="x").to_dict(regression=True)
    assert "epochs" not in Settings(max_steps=3).to_dict()


@pytest.mark.parametrize("name", sorted(p.name for p in (Path(__file__).parent.parent / "recipes").glob("*.yaml")))
def test_shipped_recipes_hold_nothing_without_effect(name: str, notes: list[str]) -> None:
    file = Path(__file__).parent.parent / "recipes" / name
    values = yaml.safe_load(file.read_text())
    make_recipe(file, {"calibration": "mrpc"} if values.get("criterion") in ("activation", "kfac") else {})
    settings = make_settings(file, {})
    assert not notes
    assert set(values.get("training", {})) <= settings.to_dict().keys()


def test_the_rules_by_hand() -> None:
    rules = (
        Rule(("a", "b"), lambda v: unless(v["c"] > 1, f"with --c {v['c']}"), "give --c 2", ("c",)),
        Rule(("b",), lambda v: unless(v["c"] > 2, "below 3")),
    )
    assert {name: because for name, (_, because) in idle(rules, {"c": 2}).items()} == {"b": "below 3"}
    assert idle(rules, {"c": 3}) == {}
    with pytest.raises(UsageError, match=r"^--b has no effect below 3: leave it out\.$"):
        refuse_idle(rules, {"c": 2}, ["b"])
    with pytest.raises(
        UsageError, match=r"^'a' in the recipe x has no effect with --c 1: leave it out, or give --c 2\.$"
    ):
        refuse_idle(rules, {"c": 1}, [], "x", ["a"])
    refuse_idle(rules, {"c": 1}, ["c"], "x", ["a"])


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["convert", "models/bert", "-o", "runs/out"], "convert bert -o out"),
        (["convert", "owner/bert@refs/pr/1", "-oruns/out"], "convert owner/bert@refs/pr/1 -oout"),
        (["convert", "C:\\models\\bert", "-qo", "runs/out"], "convert bert -qo out"),
        (["convert", "~/bert", "--calibration=file=/home/me/x.csv"], "convert bert --calibration=x.csv"),
        (["convert", "owner/bert", "--calibration", "owner/data:config"],
         "convert owner/bert --calibration owner/data:config"),
        (["convert", "owner/bert", "--include", r"layer\.(0|1)/x"], r"convert owner/bert --include 'layer\.(0|1)/x'"),
        (["finetune", "owner/bert", "--train", "data/a b.csv"], "finetune owner/bert --train 'a b.csv'"),
        (["finetune", "owner/bert", "-c", "recipes/lpaf.yaml", "--text-column", "a/b"],
         "finetune owner/bert -c lpaf.yaml --text-column a/b"),
        (["push", "runs/small", "me/small", "hf_abcdefghijkl"], "push small me/small ***"),
    ],
)  # fmt: skip
def test_the_command_line_of_a_card(
    given: list[str], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths are of a machine too; ids of the Hub are not."""
    for folder in ("models/bert", "runs/small"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert command_line(["/opt/bin/factcli", *given]) == f"factcli {shown}"


def test_the_token_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-words")
    assert "secret" not in str(command_line(["factcli", "convert", "me/secret-words"]))


def test_an_unused_value(place: Path, tmp_path: Path) -> None:
    """From Python too, whatever its type."""
    common: dict[str, Any] = {"keep": 0.5, "dry_run": True}
    for options, said in (({"blocks": 4}, "--blocks"), ({"text_column": ()}, "--text-column"),
                          ({"private": False}, "--private"), ({"solver": "cg"}, "--solver")):  # fmt: skip
        with pytest.raises(UsageError, match=f"^{said} has no effect"):
            factcli.convert(str(place / "bert"), **common, **options)
    factcli.convert(str(place / "bert"), force_rank=False, include=(), **common)
