"""A runtime, tokenizers and numpy are enough: the snippets that cards show, where nothing else can be imported."""

import json
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Run
from .closeness import same
from .reference import classify, embed

SNIPPETS = Path(__file__).parent / "snippets"
WITHIN = {"onnxruntime": 1e-4, "openvino": 2e-2}  # which takes bfloat16 where the processor has it
TEXTS = ["A first text.", "A second one, which is longer."]
RUN = """if True:
    import json, sys
    for absent in ("torch", "transformers", "sentence_transformers", "optimum", "factcli"):
        sys.modules[absent] = None
    import numpy
    found = {}
    exec(sys.argv[1], found)
    print(json.dumps({k: v.tolist() if isinstance(v, numpy.ndarray) else v for k, v in found.items()
                      if k in ("embeddings", "logits", "answers")}))
"""


def run(stranger: Run, name: str, folder: Path) -> Any:
    code = (SNIPPETS / f"{name}.py").read_text().replace("MODEL/", f"{folder.as_posix()}/")
    done = stranger("-c", RUN, code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_embeddings(runtime: str, embedder: Path, plain: Run) -> None:
    same(run(plain, f"embed_{runtime}", embedder)["embeddings"], embed(embedder, TEXTS), WITHIN[runtime])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_classifier(runtime: str, exports: Path, plain: Run) -> None:
    found = run(plain, f"classify_{runtime}", exports / "classifier")
    labels, expected = classify(exports / "classifier", TEXTS)
    assert found["answers"] == [labels[int(row.argmax())] for row in expected]
