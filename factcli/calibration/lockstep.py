"""A model and a copy that is being changed run over the same texts side by side, all of them stopping at each layer."""

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..data.encoding import batches_within
from ..models.fit import find_fit
from ..models.targets import matrix
from ..remote_code.embeddings_factorized import FactorizedEmbedding, swap_embedding
from .collector import as_tokens
from .drift import Drift, measure_drift
from .gather import collate, of_every_length, signs_of
from .losses import Example, decoder_inputs
from .products import make_fast
from .residual import find_sums
from .sums import fold_width

TOKENS = 4096  # of one batch, with padding
AT_MOST = 24576  # tokens in all: their hidden states are held throughout


class _Abandoned(Exception):
    """Ends a run whose result nobody wants any more."""


class _Run(threading.Thread):
    """One forward pass, in turns with the others: it goes on when told to, and stops at the next closed gate."""

    def __init__(self, model: nn.Module, batch: dict[str, Tensor], signs: Tensor, left_out: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.model, self.batch, self.signs, self.left_out = model, batch, signs, left_out
        self.at: str | None = None
        self.inputs = torch.empty(0)
        self.outputs: Tensor | None = None  # of the layer it stands at, where they are known already
        self.sum: Tensor | None = None  # of these and the residual stream, where it stands behind the layer
        self.same = False
        self.over = False
        self.error: BaseException | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def run(self) -> None:
        self._turn.acquire()
        try:
            if not self.over:
                with torch.no_grad():
                    self.model(**{k: v for k, v in self.batch.items() if k not in self.left_out})
        except _Abandoned:
            pass
        except BaseException as error:  # raised again where the run was told to go on
            self.error = error
        self.over = True
        self._back.release()

    def go_on(self) -> None:
        """Returns when the run stands at a gate, or is over."""
        self.at = None
        self._turn.release()
        self._back.acquire()
        if self.error is not None:
            raise self.error

    def stop(self, name: str, inputs: Tensor) -> None:
        """Called by a gate, in the run's own thread."""
        self.same = inputs is self.inputs
        self.inputs, self.at = inputs, name
        self._back.release()
        self._turn.acquire()
        if self.over:
            raise _Abandoned

    def abandon(self) -> None:
        self.over = True
        self._turn.release()
        self.join()


class _Gate:
    """Takes the place of a layer's forward: runs stop here until it is open, unless they do so behind it (`_Sum`)."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        self.name, self.layer, self.open = name, layer.forward, False
        self.behind: _Sum | None = None
        layer.forward = self

    def __call__(self, x: Tensor) -> Any:
        run = threading.current_thread()
        if self.open or not isinstance(run, _Run) or as_tokens(x, run.batch["attention_mask"]) is None:
            return self.layer(x)
        run.outputs = run.sum = None
        if self.behind is not None:
            run.outputs, self.behind.waiting = self.layer(x), x
            return run.outputs
        run.stop(self.name, x)
        return self.layer(x) if run.outputs is None else run.outputs


class _Sum:
    """Takes the place of the forward of the module that is given the sum of a layer's output and the residual stream:
    runs stop here for that layer, and the sum then becomes that with what its replacement gives."""

    def __init__(self, gate: _Gate, module: nn.Module) -> None:
        self.gate, self.layer, self.dense = gate, module.forward, gate.layer
        self.waiting: Tensor | None = None
        gate.behind, module.forward = self, self

    def __call__(self, total: Tensor, *args: Any, **others: Any) -> Any:
        x, self.waiting = self.waiting, None
        if x is not None:
            run = threading.current_thread()
            assert isinstance(run, _Run)
            outputs, run.sum = run.outputs, total
            run.stop(self.gate.name, x)
            if self.gate.layer is not self.dense:
                total.add_(self.gate.layer(x) - outputs)  # in place: what holds the stream has it too
        return self.layer(total, *args, **others)


class Lockstep:
    """Context manager; iterating yields the layers among `names` in the order in which the model runs them, each with
    its drift, and `replace` says what takes its place before the next one is asked for. Of layers whose output is added
    to the residual stream that of the stream is in it.

    Copies of the encoder `base` are run, in float32 and without its head: one as it is, the other with the
    replacements. Layers that do not run exactly once over the tokens of a text (shared by several blocks, or not used)
    are left out. Every batch has a thread for each of the two, of which one runs at a time; what is held is their
    hidden states, of AT_MOST tokens: of longer data that many are taken.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Example],
        names: Sequence[str],
        device: torch.device,
    ) -> None:
        self.models = [_copy(base, device) for _ in range(2)]
        examples = of_every_length(examples, AT_MOST)
        sizes = [len(e.ids) for e in examples]
        self.tokens = sum(sizes)
        self.batches, self.signs = [], []
        fit = find_fit(base, tokenizer, type(base).__name__)
        for indices in batches_within(TOKENS, sizes, [fit.kind(e.ids, padded=True) for e in examples]):
            chosen = [examples[i] for i in indices]
            batch, _ = collate(chosen, fit, device)
            self.batches.append(batch | decoder_inputs(base, batch))
            self.signs.append(signs_of(chosen, batch["attention_mask"], 0))
        self.left_out = () if fit.masked else ("attention_mask",)
        first = {k: v[-1:] for k, v in self.batches[0].items()}
        self.order = _order(self.models[0], first, self.left_out, set(names))
        sums = find_sums(self.models[0], partial(_answer, self.models[0], first, self.left_out), self.order)
        self.gates = {n: [_Gate(n, m.get_submodule(n)) for m in self.models] for n in self.order}
        for name, place in sums.items():
            for gate, model in zip(self.gates[name], self.models, strict=True):
                _Sum(gate, model.get_submodule(place))
        self.runs: list[tuple[_Run, _Run]] = []

    def __enter__(self) -> "Lockstep":
        dense, changed = self.models
        given = [(batch, signs, self.left_out) for batch, signs in zip(self.batches, self.signs, strict=True)]
        self.runs = [(_Run(dense, *each), _Run(changed, *each)) for each in given]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for run in (run for pair in self.runs for run in pair):
            run.abandon()

    def __iter__(self) -> Iterator[tuple[str, Drift]]:
        shared: Drift | None = None
        for name in self.order:
            for run in (run for pair in self.runs for run in pair):
                if run.at is None and not run.over:
                    run.go_on()
            here = [pair for pair in self.runs if pair[0].at == name == pair[1].at]
            layer = self.models[0].get_submodule(name)
            w = matrix(layer)
            width = fold_width(self.tokens, w.shape[1])
            if self.gates[name][0].behind is not None or w.shape[0] < w.shape[1]:  # the latter takes fewer products
                shared = None
                drift = measure_drift((self._tokens(name, pair) for pair in here), width)
                if isinstance(layer.bias, Tensor):
                    drift = replace(drift, wanted=drift.wanted - layer.bias.double())
            else:
                if shared is None or not all(run.same for pair in here for run in pair):
                    shared = measure_drift((self._tokens(None, pair) for pair in here), width)
                drift = shared.through(w.double())
            yield name, drift
            for gate in self.gates[name]:
                gate.open = True
            for run in (run for pair in here for run in pair):
                run.at = None

    def _tokens(self, name: str | None, pair: tuple[_Run, _Run]) -> tuple[Tensor, Tensor, Tensor]:
        """What `measure_drift` takes of a batch for the dense layer `name`, which then need not run again; for none the
        wanted outputs are the dense inputs."""
        dense, changed = pair
        if name is None:
            z = dense.inputs
        elif dense.sum is not None and changed.sum is not None and changed.outputs is not None:
            z = dense.sum - (changed.sum - changed.outputs)
        else:
            z = dense.outputs = self.gates[name][0].layer(dense.inputs)
        y, z = (_shaped(v, dense.batch["attention_mask"]) for v in (changed.inputs, z))
        return y, z, dense.signs

    def replace_embedding(self, embedding: FactorizedEmbedding) -> None:
        """The changed copy looks its tokens up in a copy of `embedding`; before the first layer is asked for."""
        taken = copy.deepcopy(embedding).float().requires_grad_(False).eval()
        swap_embedding(self.models[1], taken.to(self.batches[0]["input_ids"].device), False)

    def replace(self, name: str, layer: nn.Module) -> None:
        """From now on the changed copy runs a copy of `layer` under this name."""
        taken = copy.deepcopy(layer).float().requires_grad_(False).eval()
        self.gates[name][1].layer = taken.to(self.batches[0]["input_ids"].device).forward


def _copy(base: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    ran: PreTrainedModel = copy.deepcopy(base)
    nn.Module.to(ran, device=device, dtype=torch.float32)
    ran.train(False)
    ran.requires_grad_(False)
    make_fast(ran)
    return ran


def _shaped(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T, n) of the inputs or outputs of a layer that stopped at a gate: they belong to tokens."""
    tokens = as_tokens(values, mask)
    assert tokens is not None
    return tokens


def _answer(model: PreTrainedModel, batch: dict[str, Tensor], left_out: tuple[str, ...]) -> Tensor:
    found: Tensor = model(**{k: v for k, v in batch.items() if k not in left_out})[0]
    return found


def _order(model: PreTrainedModel, batch: dict[str, Tensor], left_out: tuple[str, ...], names: set[str]) -> list[str]:
    """Those of `names` that run once over the tokens, in that order."""
    called: list[str] = []
    handles = []
    for name in names:

        def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            if as_tokens(args[0], batch["attention_mask"]) is not None:
                called.append(name)

        handles.append(model.get_submodule(name).register_forward_pre_hook(note))
    with torch.no_grad():
        model(**{k: v for k, v in batch.items() if k not in left_out})
    for handle in handles:
        handle.remove()
    return [name for name in called if called.count(name) == 1]
