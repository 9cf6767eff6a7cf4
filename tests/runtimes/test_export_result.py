"""What export leaves in a directory and says of it: the result, the recipe, the card, what inspect and push make of
them; and that all else stays."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import factcli
from factcli.cli import main
from factcli.files.digests import digest_of_files

from ..training_helpers import write_csv
from .conftest import FORMATS, INT8, texts

Command = Callable[..., Any]
EXACT = {"onnx": "onnx/model.onnx", "openvino": "openvino/openvino_model.xml"}
PATHS = [*EXACT.values(), *(f"{name}/{file}" for name, file in INT8.items())]
TOLD = {"README.md", "factcli_recipe.yaml"}


@pytest.fixture
def model(exports: Path, tmp_path: Path) -> Path:
    """A factorized classifier with the files of both formats, in float32 and int8."""
    return Path(shutil.copytree(exports / "classifier", tmp_path / "m"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process and reads its --json."""

    def run(*args: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["factcli", *map(str, args), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert exit_info.value.code in (0, None)
        return json.loads(capsys.readouterr().out)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def entries(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((folder / "factcli_recipe.yaml").read_text())["made_with"]["runtimes"]
    return found


def states(folder: Path) -> dict[str, str]:
    return {e["path"]: e["state"] for e in factcli.inspect(str(folder))["runtimes"]}


def test_the_recipe_has_what_was_written(model: Path) -> None:
    """The second call of a fixture kept the files of the first, and what was said of them."""
    assert [e["path"] for e in entries(model)] == PATHS
    for entry in entries(model):
        parts = [model / part for part in entry["parts"]]
        assert entry["sha256"] == digest_of_files(parts)
        assert entry["bytes"] == sum(p.stat().st_size for p in parts)
        assert entry["versions"].keys() >= {"onnx", "onnxruntime"}
        assert ("openvino" in entry["versions"]) == (entry["format"] == "openvino")
        assert ("agreement" in entry["checked"]) == (entry["precision"] == "int8")
    assert states(model) == dict.fromkeys(PATHS, "as written")


def test_files_say_nothing_of_the_machine_that_wrote_them(model: Path) -> None:
    """torch notes of every step where in the Python files it comes from."""
    for path in PATHS:
        held = (model / path).read_bytes()
        for trace in (b"site-packages", b"pkg.torch", sys.prefix.encode(), str(Path(factcli.__file__).parent).encode()):
            assert trace not in held, (path, trace)


def test_inspect_finds_what_was_changed_and_what_is_missing(model: Path, command: Command) -> None:
    with (model / "openvino" / "openvino_model.bin").open("r+b") as file:  # a part, not the file that is loaded
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    (model / "onnx" / INT8["onnx"]).unlink()
    expected = dict.fromkeys(PATHS, "as written")
    expected |= {EXACT["openvino"]: "changed", f"onnx/{INT8['onnx']}": "missing"}
    assert states(model) == expected
    assert {e["path"]: e["state"] for e in command("inspect", model)["runtimes"]} == expected


def test_inspect_says_what_the_recipe_does_not_list(
    exports: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that is killed before it has written the recipe leaves files that are whole, and those from before."""
    model = Path(shutil.copytree(exports / "classifier", tmp_path / "m"))
    shutil.rmtree(model / "openvino")
    recipe = yaml.safe_load((model / "factcli_recipe.yaml").read_text())
    recipe["made_with"]["runtimes"] = [e for e in entries(model) if e["path"] == EXACT["onnx"]]
    (model / "factcli_recipe.yaml").write_text(yaml.safe_dump(recipe))
    told = (model / "factcli_recipe.yaml").read_bytes()
    (model / "onnx" / "of_somebody.onnx").write_bytes(b"somebody's")
    factcli.export(str(model), format="openvino")
    (model / "factcli_recipe.yaml").write_bytes(told)
    with (model / EXACT["onnx"]).open("ab") as file:
        file.write(b"\0")
    caplog.clear()
    found = factcli.inspect(str(model))["runtimes"]
    int8 = f"onnx/{INT8['onnx']}"
    assert {e["path"]: e["state"] for e in found} == {
        EXACT["onnx"]: "changed", int8: "not listed", "onnx/of_somebody.onnx": "not listed",
        EXACT["openvino"]: "not listed",
    }  # fmt: skip
    (entry,) = [e for e in found if e["path"] == EXACT["openvino"]]
    parts = [model / "openvino" / f"openvino_model{ending}" for ending in (".xml", ".bin")]
    assert (entry["format"], entry["precision"]) == ("openvino", "float32")
    assert (entry["bytes"], entry["sha256"]) == (sum(p.stat().st_size for p in parts), digest_of_files(parts))
    anew, there = "--overwrite' writes it anew.", "is there, but factcli_recipe.yaml does not list it"
    assert sorted(caplog.messages) == sorted([
        f"{EXACT['onnx']} of {model} is not the file that factcli_recipe.yaml lists: "
        f"'factcli export {model} --format onnx {anew}",
        f"{int8} of {model} {there}: 'factcli export {model} --format onnx --precision int8 {anew}",
        f"onnx/of_somebody.onnx of {model} {there}: 'factcli push' leaves it out.",
        f"{EXACT['openvino']} of {model} {there}: 'factcli export {model} --format openvino {anew}",
    ])  # fmt: skip
    factcli.export(str(model), format=FORMATS, overwrite=True)  # as it was told
    caplog.clear()
    assert [e["state"] for e in factcli.inspect(str(model))["runtimes"]] == ["as written"] * 2 + ["not listed"] * 2
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("name", ["classifier-dense", "classifier"])
def test_inspect_of_files_without_weights(
    name: str, exports: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """What `export -o` makes of a dense model, and of a factorized one."""
    out = tmp_path / "out"
    factcli.export(str(exports / name), format="onnx", output=out)
    result = command("inspect", out)
    (file,) = result["runtimes"]
    assert (file["path"], file["state"]) == (EXACT["onnx"], "as written")
    assert file["bytes"] == (out / EXACT["onnx"]).stat().st_size
    assert (result["parameters"], result["bytes"]) == (None, None)
    assert (result["format_version"] is None, not result["layers"]) == (name == "classifier-dense",) * 2
    assert EXACT["onnx"] in result["files"]
    (out / EXACT["onnx"]).write_bytes(b"another")
    caplog.clear()
    monkeypatch.setattr(sys, "argv", ["factcli", "inspect", str(out)])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert re.search(r"^runtime  onnx/model\.onnx, float32, [\d,]+ bytes, changed$", shown.out, re.MULTILINE)
    assert f"'factcli export MODEL --format onnx -o {out} --overwrite' writes it anew" in shown.err + caplog.text


def test_what_others_wrote_into_the_recipe_is_no_error(model: Path) -> None:
    recipe = yaml.safe_load((model / "factcli_recipe.yaml").read_text())
    recipe["made_with"]["runtimes"] = [{"path": "onnx/model.onnx", "parts": ["../../etc/passwd"]}, "text", {}]
    (model / "factcli_recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert states(model) == {"onnx/model.onnx": "missing"} | dict.fromkeys(PATHS[1:], "not listed")
    assert not [f for f in factcli.push(model, dry_run=True)["files"] if f.startswith(("onnx", "..", "openvino"))]


def test_push_publishes_the_recorded_files(model: Path) -> None:
    (model / "onnx" / "of_somebody.onnx").write_bytes(b"")
    found = factcli.push(model, dry_run=True)
    parts = {part for entry in entries(model) for part in entry["parts"]}
    assert len(parts) == 6
    assert parts <= set(found["files"])
    assert "onnx/of_somebody.onnx" in found["left_out"]
    assert not parts & set(found["left_out"])


def test_the_card_has_a_row_for_each(model: Path) -> None:
    """Its programs, which test_plain_runtimes.py runs, load the first of each format."""
    card = (model / "README.md").read_text()
    assert re.findall(r"^\| `([^`]+)` \|", card, re.MULTILINE) == PATHS
    programs = "".join(re.findall(r"```python\n(.*?)```", card[card.index("## Without PyTorch") :], re.DOTALL))
    assert [path for path in PATHS if f'"{path}"' in programs] == list(EXACT.values())


def test_again_only_with_overwrite_and_nothing_else_changes(model: Path, command: Command) -> None:
    before = contents(model)
    with pytest.raises(factcli.FactcliError, match=r"m/onnx/model\.onnx exists: give --overwrite to replace it"):
        factcli.export(str(model), format=FORMATS)
    assert contents(model) == before
    (model / EXACT["onnx"]).write_bytes(b"damaged")
    (model / "onnx" / "of_somebody.txt").write_text("kept")
    there = (model / "onnx" / INT8["onnx"]).stat()
    result = command("export", model, "--format", "onnx", "--overwrite")
    after = contents(model)
    changed = {k for k in after.keys() | before.keys() if after.get(k) != before.get(k)}
    assert changed - {EXACT["onnx"]} <= {*TOLD, "onnx/of_somebody.txt"}
    assert after[EXACT["onnx"]][:7] != b"damaged"
    assert (model / "onnx" / INT8["onnx"]).stat().st_mtime == there.st_mtime
    assert sorted(e["path"] for e in entries(model)) == sorted(PATHS)
    assert set(states(model).values()) == {"as written"}
    assert not [p for p in model.rglob(".*") if p.name.startswith(".runtimes")]
    checked = {"max_difference", "agreement", "metric", "loss"}
    assert list(result) == ["model", "output", "files", "checked", "seconds"]
    assert (result["model"], result["output"]) == (str(model), str(model))
    assert result["checked"].keys() == checked
    assert result["seconds"] > 0
    (file,) = result["files"]
    assert list(file) == ["path", "format", "precision", "bytes", "checked"]
    assert file["checked"].keys() == checked
    assert (file["path"], file["format"], file["precision"]) == (EXACT["onnx"], "onnx", "float32")
    assert file["bytes"] == (model / EXACT["onnx"]).stat().st_size


def test_a_directory_of_somebody_gets_files_and_nothing_else(exports: Path) -> None:
    """A dense model that factcli did not make has no recipe and no card of ours."""
    names = contents(exports / "classifier-dense").keys()
    assert {n for n in names if n.startswith(("onnx/", "openvino/"))} == {
        *PATHS, "openvino/openvino_model.bin", f"openvino/{Path(INT8['openvino']).stem}.bin",
    }  # fmt: skip
    assert not names & TOLD
    assert not [n for n in names if n.startswith(".")]


def test_several_precisions_are_made_from_one_graph(exports: Path, model: Path, tmp_path: Path) -> None:
    """Each is the file that a call of its own makes, and the most exact comes first."""
    file = write_csv(tmp_path / "texts.csv", [(text,) for text in texts(48)], ("text",))
    steps: list[str] = []
    result = factcli.export(
        str(model), output=tmp_path / "out", format=FORMATS, precision="int8,fp32", calibration=str(file),
        calibration_samples=16, progress=lambda done, total, step: steps.append(step),
    )  # fmt: skip
    assert steps.count("graph") == 1
    assert [f["path"] for f in result["files"]] == PATHS
    assert [f["precision"] for f in result["files"]] == ["float32", "float32", "int8", "int8"]
    for path in (PATHS[0], PATHS[2], "openvino/openvino_model.bin"):  # OpenVINO numbers constants of its graphs anew
        assert (tmp_path / "out" / path).read_bytes() == (model / path).read_bytes(), path


def test_a_directory_of_its_own(model: Path, tmp_path: Path, command: Command) -> None:
    """Without weights: eval runs it, and the source stays as it is."""
    out = tmp_path / "out"
    before = contents(model)
    file = write_csv(tmp_path / "l.csv", [(t, ("negative", "positive")[i % 2]) for i, t in enumerate(texts(30))])
    result = command("export", model, "--format", "onnx", "--validation", file, "-o", out)
    assert contents(model) == before
    assert result["output"] == str(out)
    assert [p.name for p in out.rglob("*.safetensors")] == []
    assert {"config.json", "tokenizer.json", "factcli_recipe.yaml", "README.md"} <= contents(out).keys()
    found = command("eval", out, "--backend", "onnx", "--validation", file)
    assert (
        found["metrics"] == result["checked"]["metric"] == factcli.evaluate(str(model), validation=file)[0]["metrics"]
    )
    assert [e["path"] for e in entries(out)] == [EXACT["onnx"]]
    with pytest.raises(factcli.FactcliError, match="out exists: give --overwrite to replace it, or another --output"):
        factcli.export(str(model), format="onnx", output=out)
    with pytest.raises(factcli.FactcliError, match=r"out has no weights|no .*safetensors"):
        factcli.evaluate(str(out), validation=file)
    (out / "mine.txt").write_text("")
    with pytest.raises(factcli.FactcliError, match="so --overwrite does not replace it"):
        factcli.export(str(model), format="onnx", output=out, overwrite=True)
    (out / "mine.txt").unlink()
    with pytest.raises(factcli.FactcliError, match="which stays as it is: choose another --output"):
        factcli.export(str(model), format="onnx", output=model, overwrite=True)
    assert factcli.export(str(model), format="onnx", output=out, overwrite=True)["output"] == str(out)
    assert not (out / "eval_results.json").exists()
