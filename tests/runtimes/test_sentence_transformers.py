"""backend="onnx" and backend="openvino" of sentence-transformers take the files that are there."""

import json
import shutil
from pathlib import Path

from ..conftest import Run
from .closeness import alike, same
from .conftest import INT8

SCRIPT = Path(__file__).parent / "scripts" / "sentence_embeddings.py"
TEXTS = ["w11 w12 w13", "the film was too long", "w14"]


def test_every_backend_embeds_as_torch_does(embedder: Path, stranger_optimum: Run, tmp_path: Path) -> None:
    """Without the weights, so that nothing can be exported again."""
    bare = tmp_path / "no-weights"
    shutil.copytree(embedder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    done = stranger_optimum(SCRIPT, embedder, bare, json.dumps(TEXTS), json.dumps(INT8))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for backend in ("onnx", "openvino"):
        same(found[backend], found["torch"])
        alike(found[f"{backend} int8"], found["torch"])
