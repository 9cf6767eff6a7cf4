"""The check of what was written: reloaded as anyone would, and compared with what was meant."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import CheckFailed
from ..notes import note
from ..progress import steps
from .loading import Loaded, load_model
from .model import Model


def check(work: Path, loaded: Loaded, model_class: type[PreTrainedModel], source: Model) -> PreTrainedModel:
    """The model in `work`, reloaded, in evaluation mode, after every tensor and, for models of text, every output was
    found to be that of `loaded`, bit for bit. `source` is what it was made from.

    Raises CheckFailed naming what differs, or the layer whose outputs are not numbers. Where the source's are none
    either, that is a note.
    """
    expected = loaded.model
    both: Any = model_class.from_pretrained(work, dtype="auto", local_files_only=True, output_loading_info=True)
    reloaded, info = both
    lost = sorted(set(info["missing_keys"]) - loaded.absent)
    if lost:
        raise CheckFailed(f"What was written does not reload: {lost[0]} is missing; please report this.")
    _take_over(loaded.absent, expected, reloaded)
    written = reloaded.state_dict()
    for name, tensor in steps("checking", expected.state_dict().items()):
        if name not in written or not same(tensor, written[name]):
            raise CheckFailed(f"What was written does not reload: {name} differs; please report this.")
    inputs = sample_inputs(expected)
    if inputs:
        _compare_outputs(expected, reloaded, inputs, source)
    found: PreTrainedModel = reloaded.train(False)
    return found


def same(a: Tensor, b: Tensor) -> bool:
    """Equal in type, shape and every value, NaN being equal to itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())


def _take_over(absent: set[str], expected: nn.Module, reloaded: nn.Module) -> None:
    """Heads that the source itself lacks are random on both sides: compare them on the same values. What a class
    computes and does not store is the reloaded model's: it may depend on the precision in which a model is made."""
    source, target = expected.state_dict(), reloaded.state_dict()
    with torch.no_grad():
        for name in absent & source.keys() & target.keys():
            target[name].copy_(source[name])
    for name, buffer in reloaded.named_buffers():
        owner, _, leaf = name.rpartition(".")
        if name not in target:
            module = expected.get_submodule(owner)
            if isinstance(getattr(module, leaf, None), Tensor):
                setattr(module, leaf, buffer.clone())


def _compare_outputs(
    expected: PreTrainedModel, reloaded: PreTrainedModel, inputs: Mapping[str, Tensor], source: Model
) -> None:
    for parameter in (p for model in (expected, reloaded) for p in model.parameters()):
        parameter.data = parameter.data.clone()  # mapped files are aligned as they come, and kernels differ by it
    try:
        meant = outputs_of(expected, inputs)
    except Exception as error:  # classes that need other inputs beside tokens fail in ways of their own
        reason = " ".join(str(error).split())[:150]
        note(f"{type(expected).__name__} does not run on tokens alone, so that outputs were not compared ({reason}).")
        return
    found = outputs_of(reloaded, inputs)
    if len(meant) != len(found) or not all(same(a, b) for a, b in zip(meant, found, strict=True)):
        raise CheckFailed("What was written does not reload: its outputs differ; please report this.")
    if all(_finite(t) for t in found):
        return
    dtype = str(reloaded.dtype).removeprefix("torch.")
    layer = first_not_finite(reloaded, inputs)
    dense = load_model(source).model
    was = str(dense.dtype).removeprefix("torch.")
    if not all(_finite(t) for t in outputs_of(dense, inputs)):
        advice = ": give --dtype bfloat16 or float32" if dtype == "float16" else ""
        note(
            f"{source.name} itself gives outputs that are not finite in {was}, and so does what was made of it in "
            f"{dtype}, first in {layer}{advice}."
        )
    elif dtype == "float16":
        raise CheckFailed(
            f"The outputs are not finite, since {layer} overflows in float16: give --dtype bfloat16 or float32."
        )
    else:
        raise CheckFailed(f"The outputs are not finite in {dtype}, first those of {layer}; please report this.")


def outputs_of(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The tensors that a model gives, in evaluation mode, the same at each call where a model draws numbers."""
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return [value for value in model(**inputs).values() if isinstance(value, Tensor)]
    finally:
        model.train(training)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def first_not_finite(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> str:
    """The name of the first module, in the order in which they finish, whose output is not finite."""
    found: list[str] = []
    with _watching(model, found):
        outputs_of(model, inputs)
    return found[0] if found else type(model).__name__


@contextmanager
def _watching(model: nn.Module, found: list[str]) -> Iterator[None]:
    """Adds names of modules to `found` whose outputs are not finite."""

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            parts = output if isinstance(output, (tuple, list)) else (output,)
            if not all(_finite(t) for t in parts if isinstance(t, Tensor)):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def sample_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """A fixed little batch for a model of text, (1, 8); empty for other models."""
    config = model.config.get_text_config()
    if model.main_input_name != "input_ids" or not getattr(config, "vocab_size", None):
        return {}
    ids = torch.arange(8).unsqueeze(0) * 37 % config.vocab_size
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if eos is not None and eos < config.vocab_size:  # some heads pool at the one end-of-sequence token
        ids[ids == eos] = (eos + 1) % config.vocab_size
        ids[0, -1] = eos
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids.unsqueeze(1)  # (1, choices, tokens)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    return inputs
