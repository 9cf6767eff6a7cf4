"""The command line: results on stdout, help without torch, JSON as designed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from factcli import __version__, load

from . import tiny
from .conftest import Run

COMMANDS = ["", "convert", "inspect", "diagnose", "finetune", "export", "eval", "bench", "frontier", "push"]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "dense"
    tiny.make("bert").save_pretrained(folder)
    return folder


HELP = """
import sys, typer

def foreign():
    return {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names

before = foreign()
from factcli.cli import main
for command in sys.argv[1:]:
    sys.argv = ["factcli", *command.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
more = foreign() - before - {"factcli"}
assert not more, more
"""


def test_help_imports_nothing_but_the_standard_library_and_typer(world: dict[str, str]) -> None:
    """That is what makes it quick: neither torch nor anything else that takes its time."""
    done = subprocess.run([sys.executable, "-c", HELP, *COMMANDS], env=world, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    usages = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("Usage: factcli ")]
    assert usages == ["[OPTIONS]", *COMMANDS[1:]]


def test_json_of_convert(dense: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", dense, "--method", "block-low-rank", "--blocks", "4", "--rank", "1", "-o",
                   tmp_path / "small", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert {"model", "method", "criterion", "allocation", "parameters", "targets", "bytes", "layers", "output",
            "seconds", "error", "pushed"} <= result.keys()  # fmt: skip
    assert result["pushed"] is None
    assert result["output"] == str(tmp_path / "small")
    assert 0 < result["error"] < 1
    layer = result["layers"][0]
    assert (layer["structure"], layer["rank"], layer["blocks"], layer["shape"]) == ("block-low-rank", 1, 4, [32, 32])
    assert result["parameters"]["after"] == sum(p.numel() for p in load(tmp_path / "small").parameters())


def test_results_on_stdout_the_rest_on_stderr(dense: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", dense, "--keep", "0.5", "-o", tmp_path / "small")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "small")
    assert "Relative error" in done.stderr
    done = factcli("convert", dense, "--keep", "0.5", "-o", tmp_path / "small", "--overwrite", "-q")
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'small'}\n", "")
    done = factcli("convert", dense, "--keep", "0.5", "--dry-run")
    assert "encoder.layer.0.attention.self.query" in done.stdout
    assert done.stderr == ""


def test_default_output_has_no_dots(dense: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", dense, "--keep", "0.5", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.iterdir()
    assert made.name.startswith("dense-low-rank-")
    assert "." not in made.name


def test_inspect(dense: Path, tmp_path: Path, factcli: Run) -> None:
    factcli("convert", dense, "--keep", "0.5", "-o", tmp_path / "small")
    done = factcli("inspect", tmp_path / "small", "--json")
    result = json.loads(done.stdout)
    assert result["recipe"]["keep"] == 0.5
    assert result["made_with"]["model"] == "dense"
    assert result["bytes"] == (tmp_path / "small" / "model.safetensors").stat().st_size
    assert "FactorizedBertModel" in factcli("inspect", tmp_path / "small").stdout
    assert "not a factorized model" in factcli("inspect", dense).stderr


def test_shell_completion(world: dict[str, str]) -> None:
    words = {"_FACTCLI_COMPLETE": "complete_bash", "COMP_WORDS": "factcli con", "COMP_CWORD": "1"}
    script = Path(sys.executable).with_name("factcli")
    done = subprocess.run([script], env=world | words, capture_output=True, text=True)
    assert done.stdout.strip() == "convert"


def test_version(world: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "factcli", "--version"], env=world, capture_output=True, text=True)
    assert done.stdout.strip() == f"factcli {__version__}"


def test_debug_shows_the_traceback(tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", tmp_path, "--keep", "0.5", FACTCLI_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.returncode == 1
