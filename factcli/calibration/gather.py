"""One pass over the calibration data: from examples to statistics of every target."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..data.encoding import batches_within
from ..errors import FactcliError
from ..models.embeddings import lookups
from ..models.fit import Fit, find_fit
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, purpose_of
from ..models.targets import Target
from ..progress import tell
from .collector import Collector
from .losses import Example, decoder_inputs, mask_tokens, pseudo_loss
from .products import make_fast
from .statistics import Kind, Statistics
from .sums import random_signs

TOKENS = 2048  # of one batch, with padding: bounds what a backward pass holds
Progress = Callable[[int, int, str], None]


@dataclass
class Calibration:
    """Statistics by target, and what it took: examples, tokens, seconds, bytes held, whether they were cached. `texts`
    are the examples themselves and `tokenizer` is what encoded them, for who runs them again."""

    statistics: dict[str, Statistics]
    examples: int
    tokens: int
    seconds: float = 0.0
    cached: bool = False
    warnings: list[str] = field(default_factory=list)
    texts: Sequence[Example] = ()
    tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def bytes(self) -> int:
        """Memory of the statistics; tensors that several targets share count once."""
        tensors = {
            t.data_ptr(): t.numel() * t.element_size()
            for s in self.statistics.values()
            for t in vars(s).values()
            if isinstance(t, Tensor)
        }
        return sum(tensors.values())


def gather(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    targets: Iterable[Target],
    kinds: Iterable[Kind],
    *,
    empirical: bool = False,
    purpose: Purpose | None = None,
    seed: int = 0,
    batch_tokens: int = TOKENS,
    device: torch.device | None = None,
    counts: Tensor | None = None,
) -> Calibration:
    """The statistics `kinds` of `targets` over `examples`, in one pass in evaluation mode (without dropout).

    The model is run in float32 and left as it was. Padding never counts. The result is the same bit for bit for any
    order of the data, and for any batch size up to the rounding of the model's own forward and backward. `purpose`
    is what its gradients are of (None: what its class says); where that is vectors or hidden states, its head is left
    out. `counts` (tokens,) are how often each token occurs: what there is
    to know of the inputs of an embedding.

    Raises FactcliError for no data, a model whose loss cannot be formed, labels that it does not have, and activations
    or gradients that are not finite, naming the layer.
    """
    if not any(len(e.ids) for e in examples):
        raise FactcliError("The calibration data hold no tokens: give a file with some text.")
    started = time.perf_counter()
    kinds = frozenset(kinds)
    backward = bool(kinds & {Kind.GRADIENTS, Kind.FISHER})
    device = device or next(model.parameters()).device
    # The copy shares no state with the model: hooks, precision and gradients of parameters stay as they are.
    purpose = purpose or (purpose_of(model) if backward else Purpose(HIDDEN))
    headless = purpose.kind in (EMBEDDING, HIDDEN)
    ran: PreTrainedModel = copy.deepcopy(model.base_model if headless else model)  # type: ignore[assignment]
    nn.Module.to(ran, device=device, dtype=torch.float32)
    ran.train(False)
    ran.requires_grad_(False)
    make_fast(ran)
    fit = find_fit(ran, tokenizer, type(model).__name__)
    config = ran.config.get_text_config()
    if fit.decoder or not fit.has(config.pad_token_id):
        config.pad_token_id = fit.pad_id  # what the batches are padded with
    targets = list(targets)
    modules = {t.name: ran.base_model.get_submodule(t.name) for t in targets if not t.embedding}
    examples = sorted(examples, key=place)
    lengths = [len(e.ids) for e in examples]
    looked_up = {t.name: lookups(ran.base_model, t.name) for t in targets if t.embedding}
    collector = Collector(modules, kinds, looked_up, sum(lengths))
    done = 0
    with _differentiable_inputs(ran, backward), collector, torch.set_grad_enabled(backward):
        for indices in batches_within(batch_tokens, lengths, [fit.kind(e.ids, padded=True) for e in examples]):
            chosen = [examples[i] for i in indices]
            _run(ran, purpose, fit, chosen, collector, seed, empirical, backward, device)
            done += len(indices)
            tell(done, len(examples), "calibrating")
    found = collector.finish()
    found |= {t.name: replace(found[t.name], counts=counts) for t in targets if t.embedding}
    calibration = Calibration(found, len(examples), sum(lengths), texts=examples, tokenizer=tokenizer)
    calibration.seconds = time.perf_counter() - started
    return calibration


def of_every_length(examples: Sequence[Example], tokens: int) -> list[Example]:
    """Some of the examples, evenly spaced in their order by length, so few that they hold about `tokens` tokens."""
    ordered = sorted(examples, key=place)
    share = min(1.0, tokens / max(1, sum(len(e.ids) for e in ordered)))
    return [ordered[int(i / share)] for i in range(max(1, round(share * len(ordered))) if ordered else 0)]


def place(example: Example) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Where an example comes among others, whatever order they are given in."""
    label = -1.0 if example.label is None else example.label
    return -len(example.ids), example.ids, example.types or (), label if isinstance(label, tuple) else (label,)


def _run(
    model: PreTrainedModel,
    purpose: Purpose,
    fit: Fit,
    examples: Sequence[Example],
    collector: Collector,
    seed: int,
    empirical: bool,
    backward: bool,
    device: torch.device,
) -> None:
    batch, special = collate(examples, fit, device)
    generators = [e.generator(seed) for e in examples]
    chosen = None
    if purpose.kind == "masked":
        mask_id = fit.tokenizer.mask_token_id
        if mask_id is None:
            raise FactcliError(
                "The tokenizer has no mask token, behind which a masked-language head predicts: name one of its tokens "
                "as mask_token in tokenizer_config.json."
            )
        true = batch["input_ids"]
        masked, chosen = mask_tokens(true, batch["attention_mask"], special, mask_id, generators)
        batch["input_ids"] = masked
    collector.start(batch["attention_mask"], signs_of(examples, batch["attention_mask"], seed))
    given = batch if fit.masked else {k: v for k, v in batch.items() if k != "attention_mask"}
    output = model(**given, **decoder_inputs(model, batch))
    if not backward:
        return
    labels = None
    if empirical:
        labels = torch.tensor([float("nan") if e.label is None else e.label for e in examples], device=device)
    if purpose.kind == "masked":
        batch["labels"] = true
    loss = pseudo_loss(purpose, output, batch, chosen, labels, generators)
    if not bool(torch.isfinite(loss)):
        raise FactcliError("The loss is not finite on the calibration data: check the weights of the head.")
    loss.backward()  # type: ignore[no-untyped-call]


def signs_of(examples: Sequence[Example], mask: Tensor, seed: int) -> Tensor:
    """Random signs of the tokens of a batch (B, T), for `sums.Fold`."""
    return random_signs([e.generator(seed, "signs") for e in examples], mask)


def collate(examples: Sequence[Example], fit: Fit, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """A batch padded on the right, and where its special tokens are; all (B, T). It has the attention mask whether the
    model takes one or not."""
    length = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), length), fit.pad_id)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, example in enumerate(examples):
        size = len(example.ids)
        ids[row, :size], mask[row, :size] = torch.tensor(example.ids, dtype=torch.long), 1
        if example.types is not None:
            types[row, :size] = torch.tensor(example.types)
    special = torch.isin(ids, torch.tensor(fit.tokenizer.all_special_ids or [-1]))
    batch = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if examples[0].types is not None:
        batch["token_type_ids"] = types.to(device)
    return batch, special.to(device)


@contextmanager
def _differentiable_inputs(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Makes the output of every embedding a leaf that needs a gradient, so that gradients of outputs exist while the
    weights need none (their gradients would cost as much again)."""
    handles = [
        m.register_forward_hook(lambda module, args, output: output.requires_grad_())
        for m in model.modules()
        if wanted and isinstance(m, nn.Embedding)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
