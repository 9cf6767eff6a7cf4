"""Run where factcli is not: load each export through its Auto class and compare outputs, bit for bit.

Arguments: a folder of cases, each with `export`, `auto.txt` (an Auto class) and `tensors.safetensors` (inputs as
in.*, expected outputs as out.*). Prints a line for each case.
"""

import importlib.util
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

assert importlib.util.find_spec("factcli") is None
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
for case in sorted(Path(sys.argv[1]).iterdir()):
    auto = getattr(transformers, (case / "auto.txt").read_text())
    model = auto.from_pretrained(case / "export", trust_remote_code=True).eval()
    tensors = load_file(case / "tensors.safetensors")
    inputs = {k[3:]: v for k, v in tensors.items() if k.startswith("in.")}
    with torch.inference_mode():
        outputs = [v for v in model(**inputs).values() if isinstance(v, torch.Tensor)]
    expected = [v for k, v in sorted(tensors.items()) if k.startswith("out.")]
    assert len(outputs) == len(expected) > 0, case.name
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True)), case.name
    assert type(model).__name__ == "Factorized" + case.name.partition("-")[0], type(model)
    native = getattr(transformers, case.name.partition("-")[0])
    assert isinstance(model, native)
    print("same", case.name)
