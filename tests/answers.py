"""What an export answers here, beside it, for strangers to compare with (tests/fresh)."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from factcli import load
from factcli.models.check import sample_inputs
from factcli.models.export import auto_map
from factcli.models.model import find_model


def save_answers(place: Path) -> PreTrainedModel:
    """Of the model in `place`/export, which is returned: inputs and outputs, and the Auto class that loads it."""
    model = load(place / "export").eval()
    inputs = sample_inputs(model)
    with torch.inference_mode():
        outputs = [v for v in model(**inputs).values() if isinstance(v, torch.Tensor)]
    tensors = {f"in.{k}": v.clone() for k, v in inputs.items()}
    tensors |= {f"out.{i:02}": v.contiguous().clone() for i, v in enumerate(outputs)}
    save_file(tensors, place / "tensors.safetensors")
    native = find_model(str(place / "export"), accept_factorized=True).native_config_class
    autos = {v.split(".")[1]: k for k, v in auto_map(native).items()}
    (place / "auto.txt").write_text(autos[type(model).__name__])
    return model
