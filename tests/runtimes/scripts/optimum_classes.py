"""Run where factcli is not: what optimum's classes answer to fixed ids, and what transformers', as JSON.

Arguments: the names of the int8 files, as a JSON object by format; a folder of exports; names of them, each with the
Auto class's task, as NAME:TASK.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
import transformers
from optimum import intel, onnxruntime

assert importlib.util.find_spec("factcli") is None
torch.set_num_threads(1)
IDS = torch.tensor([[2, 11, 12, 13, 3], [2, 14, 3, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS != 0).long(), "token_type_ids": torch.zeros_like(IDS)}
OUTPUTS = ("last_hidden_state", "logits", "start_logits", "end_logits")
OPENVINO = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}
INT8 = json.loads(sys.argv[1])
FILES = {
    "onnx": ("ORTModelFor", {}),
    "onnx int8": ("ORTModelFor", {"subfolder": "onnx", "file_name": INT8["onnx"]}),
    "openvino": ("OVModelFor", {"subfolder": "openvino", **OPENVINO}),
    "openvino int8": ("OVModelFor", {"subfolder": "openvino", "file_name": INT8["openvino"], **OPENVINO}),
}


def answer(model: object) -> dict[str, object]:
    with torch.inference_mode():
        found = model(**INPUTS)
    return {name: found[name].tolist() for name in OUTPUTS if name in found}


answers = {}
for name, _, task in (case.partition(":") for case in sys.argv[3:]):
    folder = Path(sys.argv[2]) / name
    auto = "AutoModel" if task == "FeatureExtraction" else f"AutoModelFor{task}"
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True).eval()
    answers[name] = {"torch": answer(model)}
    for file, (prefix, values) in FILES.items():
        optimum_class = getattr(onnxruntime if prefix == "ORTModelFor" else intel, prefix + task)
        trust = {} if name.endswith("-dense") else {"trust_remote_code": True}
        answers[name][file] = answer(optimum_class.from_pretrained(folder, **trust, **values))
print(json.dumps(answers))
