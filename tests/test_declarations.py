"""One declaration an option: what is made from it agrees with it."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import factcli
from factcli.data.tasks import GLUE
from factcli.errors import UsageError
from factcli.recipe import generate
from factcli.recipe.commands import COMMANDS, CONVERT, DIAGNOSE, FINETUNE
from factcli.recipe.factorizing import Examined, Recipe
from factcli.recipe.fields import Options, declared, option
from factcli.recipe.reading import read_keys, resolve
from factcli.recipe.training import Settings
from factcli.recipe.values import TASKS

TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
ROOT = Path(factcli.__file__).parent.parent


def test_generated_files_are_those_of_the_declarations() -> None:
    """Run `python -m factcli.recipe.generate` after a change of an option."""
    assert len([f for f in generate.FILES if f.is_file()]) == 3
    assert generate.changed() == []


def test_training_has_every_option_of_converting() -> None:
    assert declared(Recipe).keys() <= FINETUNE.options.keys()
    assert declared(Recipe).keys() <= CONVERT.options.keys()
    assert declared(Examined).keys() <= DIAGNOSE.options.keys()
    assert {"calibration", "solver", "sparsity", "include", "seed"} <= declared(Examined).keys()


def test_the_command_line_declares_nothing() -> None:
    """But for what Typer itself brings: version, help and completion."""
    declaring = {f.name for f in (ROOT / "factcli/cli").glob("*.py") if "typer.Option(" in f.read_text("utf-8")}
    assert declaring == {"build.py", "app.py"}
    app = (ROOT / "factcli/cli/app.py").read_text(encoding="utf-8")
    flags = set(re.findall(r'"(--[a-z-]+)"', app))
    assert flags == {"--version", "--help", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_functions_have_the_keywords_that_are_declared(command: Any) -> None:
    function = getattr(factcli, command.called_as)
    parameters = inspect.signature(function).parameters
    assert list(parameters)[: len(command.positional)] == list(command.positional)
    assert parameters.keys() == command.keywords.keys() | set(command.called)
    with pytest.raises(TypeError, match=rf"^{command.called_as}\(\) got an unexpected keyword argument 'nonsense'$"):
        function("x", nonsense=1)


def test_a_keyword_that_is_nearly_one() -> None:
    with pytest.raises(
        TypeError, match=r"^convert\(\) got an unexpected keyword argument 'kep', did you mean 'keep'\?$"
    ):
        factcli.convert("x", kep=0.5)  # type: ignore[call-arg]


def test_the_schema_takes_the_recipes_that_are_shipped_and_those_of_exports() -> None:
    schema = json.loads(generate.SCHEMA.read_text(encoding="utf-8"))
    assert schema["additionalProperties"] is False
    files = [*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "tests/data/exports-1").glob("*/factcli_recipe.yaml")]
    assert len(files) > 5
    for file in files:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        training = values.pop("training", {})
        assert set(values) <= set(schema["properties"])
        check(values, schema["properties"], file)
        check(training, schema["properties"]["training"]["properties"], file)


def check(values: dict[str, Any], properties: dict[str, Any], file: Path) -> None:
    """Every value is of a type that the schema allows."""
    for name, value in values.items():
        allowed = properties[name]
        kinds = {kind.get("type") for kind in allowed.get("anyOf", [allowed])} - {None}
        said = TYPES[type(value)]
        assert said in kinds or (said == "integer" and "number" in kinds), (file.name, name, value)


def test_names_of_tasks_are_those_of_glue() -> None:
    assert set(TASKS) == set(GLUE)


def test_one_voice() -> None:
    with pytest.raises(UsageError, match=r"^--keep 2 is not a fraction between 0 and 1: 0\.25 keeps a quarter\.$"):
        resolve(Recipe, {"keep": 2})
    with pytest.raises(UsageError, match=r"^Here has keep: 2, which is not a fraction between 0 and 1"):
        read_keys(Recipe, {"keep": 2}, "Here")
    with pytest.raises(UsageError, match=r"^Here has an unknown key 'kep', did you mean 'keep'\?$"):
        read_keys(Recipe, {"kep": 0.5}, "Here")
    with pytest.raises(UsageError, match=r"^--rank 'many' is not a whole number\.$"):
        resolve(Recipe, {"rank": "many"})
    with pytest.raises(UsageError, match=r"^--rank True is not a whole number\.$"):
        resolve(Recipe, {"rank": True})
    with pytest.raises(UsageError, match=r"^Here has keep and rank: leave one of them"):
        read_keys(Recipe, {"keep": 0.5, "rank": 3}, "Here")
    with pytest.raises(UsageError, match=r"^--batch-size 2\.5 is not a whole number\.$"):
        resolve(Settings, {"batch_size": 2.5})


def test_values_as_other_libraries_have_them() -> None:
    assert resolve(Recipe, {"rank": np.int64(3)}).rank == 3
    assert type(resolve(Recipe, {"keep": np.float32(0.5)}).keep) is float
    assert resolve(Recipe, {"dtype": torch.bfloat16}).dtype == "bfloat16"
    assert resolve(Recipe, {"calibration": Path("a") / "b.csv"}).calibration == str(Path("a") / "b.csv")
    with pytest.raises(UsageError, match=r"^--rank True is not a whole number\.$"):
        resolve(Recipe, {"rank": np.bool_(True)})


def test_a_flag_replaces_its_rivals_of_the_file_and_nothing_else() -> None:
    recipe = resolve(Recipe, {"rank": 3, "seed": None}, {"keep": 0.5, "seed": 4, "method": "monarch"})
    assert (recipe.rank, recipe.keep, recipe.seed, recipe.method) == (3, None, 4, "monarch")


def test_an_option_is_one_field() -> None:
    """What it needs beside: nothing."""

    class Group(Options):
        warmth: float = option(0.5, "How warm.", ge=0, le=1)
        names: tuple[str, ...] = option((), "Of whom.")

    one = declared(Group)["warmth"]
    assert (one.flag, one.help) == ("--warmth", "How warm; default 0.5.")
    assert one.json_schema()["maximum"] == 1
    assert resolve(Group, {"names": "a"}).names == ("a",)
    assert resolve(Group, {}, read_keys(Group, {"warmth": 1, "names": ["a", "b"]}, "F")).names == ("a", "b")
    with pytest.raises(UsageError, match=r"^--warmth 3 is above 1\.$"):
        resolve(Group, {"warmth": 3})
    with pytest.raises(AttributeError):
        Group().warmth = 1.0
