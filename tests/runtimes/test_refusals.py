"""export and eval --backend of bad input: one sentence, exit code 1 or 2, nothing left behind."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from factcli import export
from factcli.cli import main
from factcli.errors import UsageError
from factcli.runtimes.graph import Graph

from .. import rights
from ..conftest import Run
from ..hub import HubServer
from ..processes import Python
from ..training_helpers import rows, save_model, save_tokenizer, write_csv

Fail = Callable[..., str]
WITHOUT = """
import sys
sys.modules["onnxruntime"] = None
from factcli import export
from factcli.cli import main
from factcli.errors import UsageError

sys.argv[0] = "factcli"
main()
"""


def tree(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def said(text: str) -> str:
    """The sentence of an error, which must be one line and nothing else."""
    assert text.startswith("Error: ")
    assert text.count("\n") == 1, text
    assert "Unexpected" not in text
    return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals")
    save_model(folder / "m", "bert", "BertForSequenceClassification", num_hidden_layers=1)
    write_csv(folder / "texts.csv", [(text,) for text, _ in rows(8, 1)], ("text",))
    write_csv(folder / "labelled.csv", [(text, str(int(label == "yes"))) for text, label in rows(8, 1)])
    return folder


@pytest.fixture
def fail(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs the command in this process, beside the model; checks that all is as before; returns the sentence."""

    def run(*args: str | Path, code: int = 1, folder: Path = place) -> str:
        before = tree(folder)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["factcli", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capsys.readouterr()
        assert (exit_info.value.code, out) == (code, ""), err
        assert tree(folder) == before
        return said(err)

    return run


ONNX = ("--format", "onnx")


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        ([], 2, "Give --format onnx or openvino, or several."),
        (["--format", "onx"], 2, "did you mean 'onnx'"),
        (["--format", "tflite"], 2, "'tflite'"),
        ([*ONNX, "--precision", "bfloat16"], 2, "take float32, float16, int8, or save the model itself in it with"),
        ([*ONNX, "--precision", "int4"], 2, "'int4'"),
        ([*ONNX, "--precision", "float32,bfloat16"], 2, "has no precision bfloat16: take float32, float16, int8"),
        (["--format", "openvino", "--precision", "int8"], 2, "looks at texts for the ranges of its numbers: give"),
        ([*ONNX, "--format", "openvino", "--precision", "int8"], 2, "give --calibration"),
        ([*ONNX, "--max-loss", "1"], 2, "--max-loss needs labels to count: give --task or --validation, or take"),
        ([*ONNX, "--max-loss", "1", "--calibration", "texts.csv"], 2, "--max-loss needs labels"),
        ([*ONNX, "--max-loss", "-1", "--validation", "labelled.csv"], 2, "below 0"),
        ([*ONNX, "--min-agreement", "0.9"], 2, "--min-agreement needs texts to compare on: give --calibration"),
        ([*ONNX, "--min-agreement", "1.1", "--calibration", "texts.csv"], 2, "above 1"),
        ([*ONNX, "--calibration-samples", "9"], 2, "without --calibration: leave it out, or give --calibration"),
        ([*ONNX, "--split", "train"], 2, "without --task or --validation"),
        ([*ONNX, "--text-column", "text"], 2, "without --task, --validation or --calibration"),
        ([*ONNX, "--opset", "17"], 2, "below 18"),
        ([*ONNX, "--opset", "24"], 2, "above 23"),
        ([*ONNX, "--calibration", "nowhere.csv"], 1, "nowhere.csv"),
        ([*ONNX, "--validation", "nowhere.csv"], 1, "nowhere.csv"),
        ([*ONNX, "--validation", "texts.csv"], 1, "label"),
        ([*ONNX, "--calibration", "labelled.csv", "--text-column", "words"], 1, "words"),
        ([*ONNX, "-o", "m"], 1, "is the source m, which stays as it is"),
        ([*ONNX, "-o", "texts.csv"], 1, "texts.csv is a file: choose another --output"),
        ([*ONNX, "-o", "no/where"], 1, "no is not a directory"),
    ],
)
def test_export(options: list[str], code: int, expected: str, fail: Fail) -> None:
    assert expected in fail("export", "m", *options, code=code)


def test_no_precision_at_all(place: Path) -> None:
    """In Python: the command line has no empty list."""
    with pytest.raises(UsageError, match=r"^Give --precision float32 or float16 or bfloat16 or int8, or several\."):
        export(str(place / "m"), format="onnx", precision=())
    assert not (place / "m" / "onnx").exists()


LABELLED = ("--validation", "labelled.csv")


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--backend", "onnx"], 1, "m has no file for ONNX Runtime: make one with 'factcli export m --format onnx'"),
        (["--backend", "openvino"], 1, "make one with 'factcli export m --format openvino'"),
        (["--backend", "tensorrt"], 2, "'tensorrt'"),
        (["--backend", "onnx", "--file", "onnx/other.onnx"], 1, "m has no file onnx/other.onnx for ONNX Runtime: make"),
        (["--backend", "onnx", "--file", "config.json"], 1, "m has no file config.json for ONNX Runtime: make one"),
        (
            ["--file", "onnx/model.onnx"],
            2,
            "--file has no effect with --backend torch: leave it out, or give another --backend",
        ),
        (["--backend", "onnx", "--device", "cuda"], 2, "--backend onnx runs on the CPU: leave out --device"),
    ],
)
def test_eval(options: list[str], code: int, expected: str, fail: Fail) -> None:
    assert expected in fail("eval", "m", *LABELLED, *options, code=code)


@pytest.mark.parametrize("share", [0, 0.01, 0.9])
def test_an_onnx_file_that_is_cut(share: float, exports: Path, fail: Fail, tmp_path: Path) -> None:
    model = shutil.copytree(exports / "classifier-dense", tmp_path / "m")
    file = model / "onnx" / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    write_csv(tmp_path / "l.csv", [("w5", "negative"), ("w6", "positive")])
    found = fail("eval", "m", "--validation", "l.csv", "--backend", "onnx", folder=tmp_path)
    assert "ONNX Runtime cannot run model.onnx (" in found
    assert "export it again" in found


@pytest.mark.parametrize("part", ["openvino_model.xml", "openvino_model.bin"])
def test_an_openvino_file_that_is_cut_or_half_gone(part: str, exports: Path, fail: Fail, tmp_path: Path) -> None:
    model = shutil.copytree(exports / "classifier-dense", tmp_path / "m")
    file = model / "openvino" / part
    write_csv(tmp_path / "l.csv", [("w5", "negative"), ("w6", "positive")])
    file.write_bytes(file.read_bytes()[:500])
    asked = ("eval", "m", "--validation", "l.csv", "--backend", "openvino")
    assert "OpenVINO cannot run openvino_model.xml (" in fail(*asked, folder=tmp_path)
    if part.endswith(".bin"):
        file.unlink()
        assert "OpenVINO cannot run openvino_model.xml (" in fail(*asked, folder=tmp_path)


def test_a_package_that_is_missing(place: Path, python: Python) -> None:
    before = tree(place)
    for extra in ("onnx", "openvino"):
        done = python.run("-c", WITHOUT, "export", place / "m", "--format", extra)
        assert (done.returncode, done.stdout) == (1, "")
        assert said(done.stderr) == f"Error: onnxruntime is not installed: pip install 'factcli[{extra}]'.\n"
    assert tree(place) == before


def test_a_model_of_the_hub_needs_an_output(hub: HubServer, online: Python, place: Path, tmp_path: Path) -> None:
    hub.add_repo("someone/m", place / "m")
    done = online.run("-m", "factcli", "export", "someone/m", "--format", "onnx", cwd=tmp_path)
    assert done.returncode == 2
    assert said(done.stderr).endswith("someone/m is on the Hub: give --output, a directory for its files.\n")
    done = online.run("-m", "factcli", "export", "someone/m", "--format", "onnx", "-o", "out", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out/onnx/model.onnx\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_no_right_to_write(place: Path, tmp_path: Path, factcli: Run) -> None:
    """Links to folders elsewhere are left alone, which holds for the superuser too."""
    model = Path(shutil.copytree(place / "m", tmp_path / "m"))
    (tmp_path / "elsewhere").mkdir()
    (model / "onnx").symlink_to(tmp_path / "elsewhere")
    done = factcli("export", model, "--format", "onnx")
    assert done.returncode == 1
    assert "m/onnx is a symbolic link: give an --output." in said(done.stderr)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_right_to_write_into_the_model(place: Path, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "m").chmod(0o555)
    try:
        rights.heed(monkeypatch)
        assert "m is not writable: give an --output." in fail("export", "m", *ONNX)
    finally:
        (place / "m").chmod(0o755)


def test_an_architecture_that_torch_does_not_translate(tmp_path: Path, fail: Fail) -> None:
    """Its attention looks at how long a text is, in Python. What torch prints of that is kept off stderr."""
    config = transformers.LongformerConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, pad_token_id=1, attention_window=4,
    )  # fmt: skip
    transformers.LongformerModel(config).save_pretrained(tmp_path / "m")
    save_tokenizer(tmp_path / "m")
    found = fail("export", "m", *ONNX, folder=tmp_path)
    assert "m (LongformerModel) has no ONNX graph: torch cannot translate it (" in found


def test_a_graph_that_openvino_does_not_read(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "write", lambda graph, file, opset: file.write_bytes(b"half of a gra"))
    assert "OpenVINO cannot read the graph: " in fail("export", "m", "--format", "openvino")
