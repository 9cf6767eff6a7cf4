"""finetune end to end: what can be learnt is learnt, in every structure and schedule, and exported as by convert."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import factcli
from factcli.compress.structures import structures
from factcli.models.precision import SLOW, times_as_long
from factcli.recipe.training import make_settings
from factcli.training.events import Event
from factcli.training.schedules import schedules

from .tiny import blocks
from .training_helpers import rows, same, save_model, stage_steps, write_csv, write_glue

FAST: dict[str, Any] = {"batch_size": 16, "learning_rate": 4e-3, "save_steps": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny", initializer_range=0.05)  # which learns sooner


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glue")
    write_glue(folder, "sst2", train=256)
    write_glue(folder, "mrpc", train=256, learnable=False, share=0.75)
    return folder


@pytest.mark.parametrize("schedule", list(schedules))
@pytest.mark.parametrize("method", list(structures))
def test_a_separable_task_is_learnt(method: str, schedule: str, base: Path, glue: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = factcli.finetune(
        str(base), tmp_path / "out", task="sst2", data_dir=glue, method=method, keep=0.5, schedule=schedule, epochs=5,
        watch=events.append, **FAST, **blocks(method), **stage_steps(schedule, 6),
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9
    assert not result["failed_run"]
    assert result["schedule"] == schedule
    assert result["steps"] == 80 + (6 if schedule == "staged" else 0)
    begun = [e.step for e in events if e.kind == "stage"]
    assert begun == ([0, 6] if schedule == "staged" else [0])
    # The export is that of a conversion: the same layers, and anyone's transformers reads it.
    factcli.convert(str(base), tmp_path / "converted", method=method, keep=0.5, **blocks(method))
    made, converted = (json.loads((tmp_path / d / "config.json").read_text()) for d in ("out", "converted"))
    assert made["factorization"] == converted["factorization"]
    assert made["auto_map"] == converted["auto_map"]
    assert made["id2label"] == {"0": "negative", "1": "positive"}
    files = {f.name for f in (tmp_path / "out").iterdir()}
    assert files == {f.name for f in (tmp_path / "converted").iterdir()} | {"finetune_results.json"}
    again = factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=glue, device="cpu")[0]
    assert again["metrics"] == result["metrics"]


def test_the_export_serves_a_pipeline(base: Path, glue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    factcli.finetune(str(base), out, task="sst2", data_dir=glue, method="monarch", keep=0.5, epochs=6, **FAST)
    model = AutoModelForSequenceClassification.from_pretrained(out, trust_remote_code=True)
    classify = pipeline(
        "text-classification", model, tokenizer=AutoTokenizer.from_pretrained(out, trust_remote_code=True)
    )
    assert [answer["label"] for answer in classify(["w1 good w2", "w1 bad w2"])] == ["positive", "negative"]


def test_random_labels_are_a_failed_run(base: Path, glue: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = factcli.finetune(
        str(base), tmp_path / "out", task="mrpc", data_dir=glue, method="low-rank", keep=0.3, schedule="direct",
        epochs=1, watch=events.append, **(FAST | {"learning_rate": 1e-4}),
    )  # fmt: skip
    assert result["failed_run"]
    assert result["metrics"]["accuracy"] <= result["majority"]
    said = [e.text for e in events if e.kind == "failed"]
    assert said
    assert "--schedule staged" in said[0]
    assert set(result["metrics"]) == {"accuracy", "f1"}


def test_dense_stays_dense_and_native(base: Path, glue: Path, tmp_path: Path) -> None:
    result = factcli.finetune(str(base), tmp_path / "out", task="sst2", data_dir=glue, epochs=4, **FAST)
    assert result["metrics"]["accuracy"] > 0.9
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "bert"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=glue)[0]["metrics"] == result["metrics"]
    # and is then factorized without losing its head
    factcli.convert(str(tmp_path / "out"), tmp_path / "small", method="low-rank", keep=0.9)
    assert not factcli.evaluate(str(tmp_path / "small"), task="sst2", data_dir=glue)[0]["failed_run"]


def test_factorized_in_is_trained_directly(base: Path, glue: Path, tmp_path: Path) -> None:
    factcli.convert(str(base), tmp_path / "small", method="block-low-rank", keep=0.5, blocks=2)
    out = tmp_path / "out"
    result = factcli.finetune(str(tmp_path / "small"), out, task="sst2", data_dir=glue, epochs=5, **FAST)
    assert result["schedule"] == "direct"
    assert result["metrics"]["accuracy"] > 0.9
    small, trained = (json.loads((tmp_path / d / "config.json").read_text()) for d in ("small", "out"))
    assert trained["factorization"] == small["factorization"]
    assert factcli.inspect(out)["recipe"]["method"] == "block-low-rank"


def test_staging_factorizes_what_was_trained(base: Path, glue: Path, tmp_path: Path) -> None:
    """The order of blocks, and that later blocks are factorized from weights as trained by then."""
    events: list[Event] = []
    common: dict[str, Any] = {
        "task": "sst2", "data_dir": glue, "method": "low-rank", "keep": 0.5, "max_steps": 1, **FAST,
    }  # fmt: skip
    factcli.finetune(str(base), tmp_path / "high", watch=events.append, stage_steps=4, **common)
    factcli.finetune(str(base), tmp_path / "low", order="low-to-high", stage_steps=4, **common)
    factcli.finetune(str(base), tmp_path / "one", stages=1, **common)
    factcli.finetune(str(base), tmp_path / "direct", schedule="direct", **common)
    assert [(e.step, e.stage) for e in events if e.kind == "stage"] == [(0, 1), (4, 2)]
    assert same(tmp_path / "one", tmp_path / "direct")
    assert not same(tmp_path / "high", tmp_path / "low")
    results = json.loads((tmp_path / "high" / "finetune_results.json").read_text())
    assert results["steps"] == 5


@pytest.mark.parametrize(  # one of them by every schedule, each of them by one
    ("criterion", "schedule"),
    [*(("kfac", schedule) for schedule in schedules), ("activation", "staged"), ("fisher-rows", "direct")],
)
def test_criteria_that_look_at_data(criterion: str, schedule: str, base: Path, glue: Path, tmp_path: Path) -> None:
    """They see the training data through the model as it is by then; the whole works with ranks that differ."""
    result = factcli.finetune(
        str(base), tmp_path / "out", task="sst2", data_dir=glue, method="low-rank", keep=0.5, criterion=criterion,
        allocation="global", schedule=schedule, epochs=16 if schedule == "mixed-rank" else 6,
        **(FAST | {"learning_rate": 6e-3}), **stage_steps(schedule, 6),
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9
    assert factcli.inspect(tmp_path / "out")["recipe"]["criterion"] == criterion


@pytest.mark.parametrize("fisher", ["sampled", "empirical"])
def test_a_file_to_calibrate_on_has_the_columns_of_the_training_data(fisher: str, base: Path, tmp_path: Path) -> None:
    """Where it has them; one of lines has none."""
    save_model(tmp_path / "head", head="BertForSequenceClassification", initializer_range=0.05)
    files = [write_csv(tmp_path / f"{i}.csv", rows(64, i), ("review", "verdict")) for i in range(3)]
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text, _ in rows(64, 4)))
    both: dict[str, Any] = {
        "train": files[0], "validation": files[1], "text_column": "review", "label_column": "verdict", "keep": 0.5,
        "criterion": "kfac", "schedule": "direct", "max_steps": 1, **FAST,
    }  # fmt: skip
    factcli.finetune(str(tmp_path / "head"), tmp_path / "out", calibration=str(files[2]), fisher=fisher, **both)
    kept = factcli.inspect(tmp_path / "out")["recipe"]
    assert kept["text_column"] == ["review"]
    assert kept.get("label_column", "label") == ("verdict" if fisher == "empirical" else "label")
    factcli.finetune(str(base), tmp_path / "lines", calibration=str(tmp_path / "lines.txt"), **both)
    assert "text_column" not in factcli.inspect(tmp_path / "lines")["recipe"]


def test_two_runs_are_the_same_and_two_seeds_are_not(base: Path, glue: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "task": "sst2",
        "data_dir": glue,
        "method": "monarch",
        "keep": 0.5,
        "max_steps": 5,
        **FAST,
    }
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        factcli.finetune(str(base), tmp_path / name, seed=seed, **common)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("schedule", list(schedules))
def test_precision_is_of_the_training_only(
    schedule: str, base: Path, glue: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """bfloat16 changes what is learnt, not what is saved, measured or calibrated on; it says so where it is slow."""
    common: dict[str, Any] = {
        "task": "sst2", "data_dir": glue, "keep": 0.5, "criterion": "kfac", "schedule": schedule, "epochs": 5, **FAST,
        **stage_steps(schedule, 6),
    }  # fmt: skip
    for precision in ("float32", "bfloat16"):
        result = factcli.finetune(str(base), tmp_path / precision, precision=precision, **common)
        assert result["metrics"]["accuracy"] > 0.9
        slow = precision == "bfloat16" and times_as_long("bfloat16", "float32") > SLOW
        assert [m.endswith("as float32: leave --precision out.") for m in caplog.messages].count(True) == slow
        caplog.clear()
        again = factcli.evaluate(str(tmp_path / precision), task="sst2", data_dir=glue, device="cpu")[0]
        assert again["metrics"] == result["metrics"]
    assert not same(tmp_path / "float32", tmp_path / "bfloat16")
    assert {t.dtype for t in load_file(tmp_path / "bfloat16" / "model.safetensors").values()} == {torch.float32}
    assert make_settings(tmp_path / "bfloat16" / "factcli_recipe.yaml", {}).precision == "bfloat16"


def test_own_files_pairs_and_regression(base: Path, tmp_path: Path) -> None:
    for name, count, seed in (("train", 200, 1), ("val", 60, 2)):
        write_csv(tmp_path / f"{name}.csv", rows(count, seed), ("review", "verdict"))
        graded = [(text, "w1", "3.5" if label == "yes" else "1.0") for text, label in rows(count, seed)]
        write_csv(tmp_path / f"{name}-pairs.csv", graded, ("a", "b", "grade"))
    result = factcli.finetune(
        str(base), tmp_path / "out", train=tmp_path / "train.csv", validation=tmp_path / "val.csv",
        text_column=["review"], label_column="verdict", method="low-rank", keep=0.6, epochs=6, **FAST,
        schedule="direct",
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "no", "1": "yes"}
    evaluated = factcli.evaluate(
        str(tmp_path / "out"), validation=tmp_path / "val.csv", text_column=["review"], label_column="verdict"
    )[0]
    assert evaluated["metrics"] == result["metrics"]
    graded_result = factcli.finetune(
        str(base), tmp_path / "graded", train=tmp_path / "train-pairs.csv", validation=tmp_path / "val-pairs.csv",
        text_column=["a", "b"], label_column="grade", method="low-rank", keep=0.6, epochs=6, schedule="direct", **FAST,
    )  # fmt: skip
    assert graded_result["metrics"]["pearson"] > 0.6
    assert graded_result["majority"] is None
    assert not graded_result["failed_run"]


def test_search_takes_the_smallest_loss_and_survives_divergence(
    base: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = (1e-6, 4e-3, 1e30)
    monkeypatch.setattr("factcli.training.search.RATES", rates)
    result = factcli.finetune(
        str(base), tmp_path / "out", task="sst2", data_dir=glue, method="low-rank", keep=0.5, schedule="direct",
        max_steps=60, **(FAST | {"learning_rate": "search", "batch_size": 4}),
    )  # fmt: skip
    losses = {entry["learning_rate"]: entry["loss"] for entry in result["search"]}
    assert tuple(losses) == rates
    assert losses[1e30] is None
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    assert result["learning_rate"] == min(finite, key=lambda rate: finite[rate])


def test_seeds_make_a_table_with_failed_runs(base: Path, glue: Path, tmp_path: Path) -> None:
    result = factcli.finetune(
        str(base), tmp_path / "out", task="mrpc", data_dir=glue, method="low-rank", keep=0.3, schedule="direct",
        max_steps=3, seeds="1-3", **(FAST | {"learning_rate": 1e-4}),
    )  # fmt: skip
    summary = result["summary"]
    assert summary["seeds"] == [1, 2, 3]
    assert summary["failed_runs"] == 3
    assert summary["mean_successful"] == {"accuracy": None, "f1": None}
    accuracies = torch.tensor([run["metrics"]["accuracy"] for run in result["runs"]], dtype=torch.float64)
    assert summary["mean"]["accuracy"] == pytest.approx(float(accuracies.mean()))
    assert summary["deviation"]["accuracy"] == pytest.approx(float(accuracies.std()), abs=1e-12)
    assert (tmp_path / "out" / "seed-2" / "model.safetensors").is_file()


def test_a_diverging_run_says_so(base: Path, glue: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"task": "sst2", "data_dir": glue, "method": "low-rank", "keep": 0.5, "epochs": 2}
    with pytest.raises(factcli.FactcliError, match=r"diverged at learning rate 0\.99"):
        factcli.finetune(str(base), tmp_path / "out", **common, **(FAST | {"learning_rate": 0.99, "weight_decay": 1e9}))
    assert not (tmp_path / "out").exists()
    several = factcli.finetune(
        str(base), tmp_path / "several", seeds="1,2", **common, **(FAST | {"learning_rate": 0.99, "weight_decay": 1e9})
    )
    assert several["summary"]["failed_runs"] == 2
    assert several["runs"][0]["metrics"] == {}


@pytest.mark.parametrize("in_words", [False, True])
def test_t5_with_a_head_and_in_words(in_words: bool, glue: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", rows(256, 1))
    write_csv(tmp_path / "val.csv", rows(64, 2))
    model = save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration")
    result = factcli.finetune(
        str(model), tmp_path / "out", train=tmp_path / "train.csv", validation=tmp_path / "val.csv", method="low-rank",
        keep=0.6, epochs=8, schedule="direct", text_to_text=in_words, **FAST,
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9
    again = factcli.evaluate(str(tmp_path / "out"), validation=tmp_path / "val.csv")[0]
    assert again["metrics"] == result["metrics"]


def test_recipes_carry_training(base: Path, glue: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "method: low-rank\nkeep: 0.5\ntraining:\n  schedule: staged\n  stage_steps: 2\n  max_steps: 3\n"
        "  batch_size: 16\n  learning_rate: 1e-3\n"
    )
    common: dict[str, Any] = {"task": "sst2", "data_dir": glue, "save_steps": 0}
    first = factcli.finetune(str(base), tmp_path / "a", config=recipe, **common)
    assert first["steps"] == 5
    assert first["learning_rate"] == 1e-3
    factcli.finetune(str(base), tmp_path / "b", config=tmp_path / "a" / "factcli_recipe.yaml", **common)
    assert same(tmp_path / "a", tmp_path / "b")


def test_the_recipe_of_the_paper(base: Path, glue: Path, tmp_path: Path) -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "staged-low-rank-44M.yaml"
    settings = make_settings(recipe, {})
    assert (settings.schedule, settings.stage_steps, settings.order) == ("staged", 500, "high-to-low")
    assert (settings.batch_size, settings.epochs, settings.max_length) == (32, 5, 128)
    assert settings.learning_rate == "search"
    result = factcli.finetune(
        str(base), tmp_path / "out", config=recipe, task="sst2", data_dir=glue, keep=0.5, stage_steps=2, max_steps=2,
        max_length=32, learning_rate=1e-3, save_steps=0,
    )  # fmt: skip
    assert result["schedule"] == "staged"
    assert result["steps"] == 4
