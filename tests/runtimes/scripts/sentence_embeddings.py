"""Run where factcli is not: the embeddings of every backend and file of a SentenceTransformer, as JSON.

Arguments: a directory with the weights, the same without them, a JSON list of texts, the names of the int8
files as a JSON object by format.
"""

import importlib.util
import json
import sys

import torch
from sentence_transformers import SentenceTransformer

assert importlib.util.find_spec("factcli") is None
torch.set_num_threads(1)
whole, without_weights, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
INT8 = json.loads(sys.argv[4])
ONNX = {"provider": "CPUExecutionProvider"}
OPENVINO = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}  # on some processors it is bfloat16 otherwise
BACKENDS = {
    "onnx": ("onnx", ONNX),
    "onnx int8": ("onnx", {**ONNX, "file_name": INT8["onnx"]}),
    "openvino": ("openvino", OPENVINO),
    "openvino int8": ("openvino", {**OPENVINO, "file_name": INT8["openvino"]}),
}
found = {"torch": SentenceTransformer(whole, trust_remote_code=True).encode(texts).tolist()}
for name, (backend, values) in BACKENDS.items():
    model = SentenceTransformer(without_weights, backend=backend, trust_remote_code=True, model_kwargs=values)
    found[name] = model.encode(texts).tolist()
print(json.dumps(found))
