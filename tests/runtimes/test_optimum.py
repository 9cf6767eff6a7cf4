"""optimum's classes take dense and factorized exports; of the latter the configuration's code must be trusted."""

import json
from pathlib import Path

from ..conftest import Run
from .closeness import alike, same
from .conftest import INT8

SCRIPT = Path(__file__).parent / "scripts" / "optimum_classes.py"
CASES = (
    "embedder:FeatureExtraction",
    "classifier:SequenceClassification",
    "classifier-dense:SequenceClassification",
    "reader:QuestionAnswering",
)
UNTRUSTED = """if True:
    import sys
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from optimum.intel import OVModelForFeatureExtraction
    for taker, subfolder in ((ORTModelForFeatureExtraction, "onnx"), (OVModelForFeatureExtraction, "openvino")):
        try:
            taker.from_pretrained(sys.argv[1], subfolder=subfolder)
        except ValueError as error:
            assert "trust_remote_code=True" in str(error), error
        else:
            raise AssertionError(taker)
"""


def test_every_class_answers_as_transformers_does(exports: Path, stranger_optimum: Run) -> None:
    done = stranger_optimum(SCRIPT, json.dumps(INT8), exports, *CASES)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == len(CASES)
    for answer in answers.values():
        expected = answer.pop("torch")
        assert set(answer) == {"onnx", "onnx int8", "openvino", "openvino int8"}
        for file, found in answer.items():
            assert found.keys() == expected.keys() != set()
            for output, values in found.items():
                (alike if "int8" in file else same)(values, expected[output])


def test_a_factorized_export_is_not_taken_on_trust(exports: Path, stranger_optimum: Run) -> None:
    done = stranger_optimum("-c", UNTRUSTED, exports / "embedder")
    assert done.returncode == 0, done.stderr
