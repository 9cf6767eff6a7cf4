"""Factorized layers, written so that 8 bits change them least."""

from typing import Any

from transformers import PreTrainedModel

from ..compress.structures import structures


def even(model: PreTrainedModel) -> None:
    """Give every factorized layer of `model`, in place, the tensors that stand for the same matrix and lose least in 8
    bits (see `Structure.even`). Layers of a dense model stay as they are."""
    layers = dict(model.base_model.named_modules())
    plan: dict[str, Any] = getattr(model.config, "factorization", None) or {"layers": []}
    for entry in plan["layers"]:
        layer = layers.get(entry["name"])  # a class may hold only one side of the architecture
        if layer is not None and entry["structure"] in structures:
            layer.load_state_dict(structures[entry["structure"]]().even(layer.state_dict()), strict=False)
