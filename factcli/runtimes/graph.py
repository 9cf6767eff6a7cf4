"""The graph of a model: what goes in, what comes out, and its ONNX file, from which all runtimes start."""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import FactcliError, one_line
from ..models.fit import Fit
from ..models.model import Model
from .extras import need
from .formats import Batch
from .silence import silent

# What of a model's answer a file gives, by the names that runtimes' users look for; the first that there are.
OUTPUTS = (("start_logits", "end_logits"), ("logits",), ("last_hidden_state",))
EXAMPLE = (2, 7)  # texts x tokens of the input that is traced: neither is 1, which would be taken for a constant
OPSET = 20  # with operators for whole layers that older runtimes spell out; ONNX Runtime 1.17 and newer read it


@dataclass(frozen=True)
class Graph:
    """A model with the names of its inputs, (batch, length) int64 each, and of its outputs."""

    name: str
    model: PreTrainedModel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def answer(self) -> "_Answer":
        """The model as it is traced, and as files are held to it."""
        return _Answer(self.model, self.inputs, self.outputs)

    def given(self, batch: Mapping[str, Tensor]) -> Batch:
        """A batch of a `Fit` as the graph takes it; a decoder reads what the encoder does."""
        ids = batch["input_ids"]
        made = {
            "input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids),
            "decoder_input_ids": ids,
        }  # fmt: skip
        return {name: (dict(made) | dict(batch))[name].numpy() for name in self.inputs}

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """What the model answers."""
        with torch.inference_mode():
            answers = self.answer(tuple(torch.from_numpy(batch[name]) for name in self.inputs))
        return {name: np.asarray(answer) for name, answer in zip(self.outputs, answers, strict=True)}

    def write(self, file: Path, opset: int) -> None:
        """The ONNX file, of any batch and length, in the precision of the model; above 2 GB its weights are in a file
        beside it.

        Raises FactcliError where torch cannot translate the model.
        """
        need("onnx")
        example = {name: torch.ones(EXAMPLE, dtype=torch.long) for name in self.inputs}
        any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        try:
            with torch.no_grad(), silent():
                program = torch.onnx.export(
                    self.answer, (tuple(example.values()),), dynamo=True,
                    opset_version=opset, input_names=list(self.inputs), output_names=list(self.outputs),
                    dynamic_shapes=((dict(any_size),) * len(self.inputs),), verbose=False,
                    optimize=False,
                )  # fmt: skip
        except Exception as error:  # torch.export fails in as many ways as there are architectures
            raise FactcliError(
                f"{self.name} ({type(self.model).__name__}) has no ONNX graph: torch cannot translate it "
                f"({one_line(error.__cause__ or error)})."
            ) from error
        assert program is not None
        with silent():
            split_constants(program)  # first: the time that optimizing takes grows with the square of the slices
            program.optimize()
        _name_sizes(program)
        _forget(program)
        program.save(file)


class _Answer(nn.Module):
    """A model with positional inputs, and a tuple of tensors as its answer."""

    def __init__(self, model: PreTrainedModel, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs
        self.more = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def forward(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        answer = self.model(**dict(zip(self.inputs, given, strict=True)), **self.more)
        return tuple(answer[name] for name in self.outputs)


def graph_of(source: Model, model: PreTrainedModel, fit: Fit) -> Graph:
    """The graph of `model`, in evaluation mode, on a CPU. Raises FactcliError where it does not answer with tensors
    that a file could give."""
    model.train(False)
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = fit.pad_id  # classifiers look for it in a batch
    accepted = inspect.signature(type(model).forward).parameters
    names = ["input_ids"]
    names += ["attention_mask"] if fit.masked else []
    typed = fit.types not in (0, 1) and "token_type_ids" in fit.tokenizer.model_input_names  # of one, all tokens are
    names += ["token_type_ids"] if typed else []
    if model.config.is_encoder_decoder and not type(model).__name__.endswith("ForSequenceClassification"):
        names += [n for n in ("decoder_input_ids",) if n in accepted]
    given = {name: torch.ones(1, 3, dtype=torch.long) for name in names}
    with torch.inference_mode():
        answer = model(**given)
    outputs = next((wanted for wanted in OUTPUTS if all(k in answer for k in wanted)), None)
    if outputs is None:
        raise FactcliError(
            f"{source.name} ({type(model).__name__}) answers with {', '.join(answer)}: export takes models that give "
            f"{', '.join(k for wanted in OUTPUTS for k in wanted)}."
        )
    return Graph(source.name, model, tuple(names), outputs)


def _name_sizes(program: Any) -> None:
    """Inputs and outputs of size (batch, length, …), in the words that users read."""
    graph = program.model.graph
    decodes = any(value.name == "decoder_input_ids" for value in graph.inputs)
    for value in (*graph.inputs, *graph.outputs):
        decoded = decodes and (value in graph.outputs or value.name == "decoder_input_ids")
        for axis, name in enumerate(("batch", "decoder_length" if decoded else "length")[: len(value.shape)]):
            if not isinstance(value.shape[axis], int):
                value.shape[axis] = name


def _forget(program: Any) -> None:
    """Takes out what torch notes of every step: where in the Python files of this machine it comes from."""
    graph = program.model.graph
    nodes = list(graph.all_nodes())
    values = [value for node in nodes for value in node.outputs]
    for part in (program.model, graph, *nodes, *values, *graph.inputs, *graph.initializers.values()):
        part.metadata_props.clear()
        part.doc_string = None


def split_constants(program: Any) -> None:
    """Slices of weights, which block layers multiply by, become weights of their own: quantizers see no others."""
    from onnxscript import optimizer

    optimizer.fold_constants(
        program.model, output_size_limit=sys.maxsize,
        should_fold=lambda node: node.op_type in ("Slice", "Squeeze") or None,
    )  # fmt: skip
    optimizer.remove_unused_nodes(program.model)
