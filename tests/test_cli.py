"""The command line: results on stdout, help without torch, JSON as designed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import tiny
from .conftest import Run

COMMANDS = [[], ["convert"], ["inspect"], ["diagnose"], ["finetune"], ["eval"], ["bench"], ["push"]]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "dense"
    tiny.make("bert").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "root")
def test_help_imports_nothing_heavy(command: list[str], world: dict[str, str]) -> None:
    code = (
        "import sys\nfrom factcli.cli import main\nsys.argv = ['factcli', *sys.argv[1:], '--help']\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], env=world, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: factcli" in done.stdout


def fastest(command: list[str], env: dict[str, str]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, env=env, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def test_help_is_quick(world: dict[str, str]) -> None:
    bare = fastest([sys.executable, "-c", "import typer"], world)
    for command in COMMANDS:
        assert fastest([sys.executable, "-m", "factcli", *command, "--help"], world) < 3 * bare


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
    assert result["parameters"]["after"] == sum(
        p.numel() for p in __import__("factcli").load(tmp_path / "small").parameters()
    )


def test_results_on_stdout_the_rest_on_stderr(dense: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", dense, "--keep", "0.5", "-o", tmp_path / "small")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "small")
    assert "Relative error" in done.stderr
    done = factcli("convert", dense, "--keep", "0.5", "-o", tmp_path / "small", "--overwrite", "-q")
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'small'}\n", "")
    done = factcli("convert", dense, "--keep", "0.5", "--dry-run")
    assert "encoder.layer.0.attention.self.query" in done.stdout
    assert done.stderr == ""


def test_default_output_has_no_dots(dense: Path, tmp_path: Path, world: dict[str, str]) -> None:
    command = [sys.executable, "-m", "factcli", "convert", str(dense), "--keep", "0.5", "-q"]
    done = subprocess.run(command, env=world, cwd=tmp_path, capture_output=True, text=True)
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


def test_version(factcli: Run) -> None:
    import factcli as package

    assert factcli("--version").stdout.strip() == f"factcli {package.__version__}"


def test_debug_shows_the_traceback(tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", tmp_path, "--keep", "0.5", FACTCLI_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.returncode == 1
