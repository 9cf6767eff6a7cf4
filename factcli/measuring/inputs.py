"""Random inputs that fit a model."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import FactcliError

SEED = 0
_SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "cls_token_id", "sep_token_id")

Inputs = dict[str, Any]


def make_inputs(
    model: PreTrainedModel, name: str, batch_size: int, length: int, count: int, device: torch.device
) -> list[Inputs]:
    """`count` keyword arguments for the forward pass of `model`, each a batch of its own, always the same ones.

    `input_ids` (batch_size, length) are random ids of the vocabulary without special tokens, attention masks are full.
    A model with a decoder also gets as many random `decoder_input_ids`, and the end token last in its input, which its
    classifiers look for. No model keeps a cache of keys and values: nothing is generated.

    Raises:
        FactcliError: The model does not read text.
    """
    config = model.config.get_text_config()
    accepted = inspect.signature(model.forward).parameters
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is None or "input_ids" not in accepted:
        raise FactcliError(f"{name} ({type(model).__name__}) does not read token ids: bench is for models of text.")
    special = {i for key in _SPECIAL for i in _ids(getattr(config, key, None))}
    if getattr(config, "pad_token_id", None) is None:  # classifiers of generating models refuse batches without one
        config.pad_token_id = next(iter(_ids(getattr(config, "eos_token_id", None))), None)
    ordinary = torch.tensor([i for i in range(vocabulary) if i not in special])
    generator = torch.Generator().manual_seed(SEED)

    def draw() -> Tensor:
        return ordinary[torch.randint(len(ordinary), (batch_size, length), generator=generator)]

    made = []
    for _ in range(count):
        inputs: Inputs = {"input_ids": draw()}
        if "attention_mask" in accepted:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "decoder_input_ids" in accepted:
            ends = _ids(getattr(config, "eos_token_id", None))
            if ends:
                inputs["input_ids"][:, -1] = ends[0]
            inputs["decoder_input_ids"] = draw()
        inputs = {key: tensor.to(device) for key, tensor in inputs.items()}
        made.append(inputs | ({"use_cache": False} if "use_cache" in accepted else {}))
    return made


def _ids(value: Any) -> list[int]:
    """A token id in a configuration: none, one or several."""
    if isinstance(value, (list, tuple)):
        return list(value)
    return [] if value is None else [int(value)]
