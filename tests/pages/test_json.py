"""What commands print with --json is what the schemas say: no key more, none less, each of its type."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from factcli.cli import main
from factcli.recipe.commands import COMMANDS
from pages.json_reference import schemas

from ..hub import HubServer
from ..hub_client import HubClient
from ..training_helpers import rows, save_model, write_csv, write_glue

Print = Callable[..., Any]
GLUE = "--task sst2 --data-dir glue"
FAST = "--batch-size 16 --learning-rate 4e-3 --device cpu"
SCHEMAS = {name: Draft202012Validator(schema) for name, schema in schemas().items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    save_model(folder / "dense", head="BertForSequenceClassification")
    write_csv(folder / "texts.csv", rows(120, 1))
    write_glue(folder / "glue", "sst2", train=400, validation=200)
    return folder


@pytest.fixture
def printed(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Print:
    """Runs a command line in `place`: what it prints, held to the schema of its command."""
    monkeypatch.chdir(place)

    def run(command: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["factcli", *command.split(), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        found = json.loads(capsys.readouterr().out)
        held(command.split()[0], found)
        return found

    return run


def held(name: str, found: Any) -> None:
    wrong = [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in SCHEMAS[name].iter_errors(found)]
    assert not wrong, f"docs/reference/schemas/{name}.json does not say what the command prints"


def test_every_command_has_a_schema_that_is_one() -> None:
    assert set(SCHEMAS) == {command.name for command in COMMANDS}
    for name, validator in SCHEMAS.items():
        Draft202012Validator.check_schema(validator.schema)
        assert validator.schema["title"] == f"factcli {name} --json"


def test_convert_finetune_eval_export_bench_and_inspect(printed: Print, place: Path) -> None:
    planned = printed("convert dense --keep 0.5 --dry-run")
    assert "output" not in planned
    printed("convert dense --vocabulary texts.csv --vocabulary-size 50 -o words")
    trained = printed(f"finetune dense {GLUE} --max-steps 90 {FAST} -o able")
    assert not trained["failed_run"]
    made = printed("convert able --keep 0.5 --criterion kfac --allocation global --calibration texts.csv -o small")
    found = printed(f"convert able --max-loss 40 {GLUE} -o found")
    assert found["search"]["candidates"]
    printed("convert able --max-ms 1000 --sequence-length 8 --budget-seconds 0.001 -o fast")
    printed(f"frontier able {GLUE} --ways dense,svd --keeps 0.5 --backend torch --seconds 0")
    (place / "grid.yaml").write_text("{command: convert, options: {model: dense}, grid: {keep: [0.5, 0.25]}}")
    printed("sweep grid.yaml -o grid --dry-run")
    printed(f"finetune small {GLUE} --max-steps 1 {FAST} --seeds 1-2 -o seeds")
    printed(f"finetune small --teacher able --train texts.csv --label-weight 0 --max-steps 2 {FAST} -o healed")
    printed(f"eval small able {GLUE} --device cpu")
    printed(f"export small --format onnx {GLUE}")
    printed("inspect small")
    printed("bench small --baseline able --seconds 0.05 --batch-size 1 --sequence-length 8 --device cpu")
    # What is there only at times is described too, and nothing passes that is not.
    del made["parameters"]
    assert list(SCHEMAS["convert"].iter_errors(made))
    assert list(SCHEMAS["convert"].iter_errors(planned | {"surprise": 1}))
    bare = copy.deepcopy(planned)
    bare["targets"]["after"] = "few"
    assert list(SCHEMAS["convert"].iter_errors(bare))


@pytest.mark.parametrize("more", ["", " --calibration texts.csv"])
def test_diagnose(printed: Print, more: str) -> None:
    printed(f"diagnose dense{more} --device cpu")


def test_push(owner: HubClient, hub: HubServer, printed: Print, place: Path) -> None:
    printed("convert dense --keep 0.5 -o pushed")
    assert printed("push pushed someone/pushed --dry-run")["commit"] is None
    result = owner.call("push", str(place / "pushed"), "someone/pushed")
    held("push", result)
    assert result["commit"]
