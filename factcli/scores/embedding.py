"""Texts through an embedding model, as its own files say: each alone, pooled to a vector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import FactcliError, UsageError
from ..models.fit import LENGTH, Features, Fit, Limit, find_fit
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, decodes
from ..models.trained import Trained
from ..models.usage import Usage, longest_text, read_usage
from ..models.vectors import Vectors
from ..notes import note
from ..recipe.running import Data
from .prediction import Forward, Run, predict

_HIDDEN = "last_hidden_state"
_UNLIMITED = 10**6  # what tokenizers say for "no maximum" is far above


def embeds(source: Model, purpose: Purpose) -> bool:
    """Whether a model is measured by its vectors: an embedding model, or one that has hidden states of its text and no
    head (those of a model with a decoder are of its answer)."""
    return purpose.kind == EMBEDDING or (purpose.kind == HIDDEN and not decodes(source.model_class))


@dataclass(frozen=True)
class Embedder:
    """A model that makes vectors. Texts are cut at `limit`."""

    source: Model
    fit: Fit
    vectors: Vectors
    usage: Usage
    limit: Limit
    batch_size: int

    def features(self, texts: Sequence[str], prompt: str = "") -> list[Features]:
        """One entry a text, with `prompt` before it. Raises FactcliError for tokens that the model does not have."""
        whole = [(prompt + text).lower() if self.usage.lower else prompt + text for text in texts]
        encoded = self.fit.tokenizer(whole, truncation=True, max_length=self.limit.tokens)
        found = self.fit.features(encoded, len(whole))
        self.fit.fill_empty(found)
        return found

    def encode(
        self,
        features: Sequence[Features],
        hidden: Forward,
        model: PreTrainedModel | None,
        prompt: str = "",
    ) -> Tensor:
        """Vectors (texts, k), float32, from what `hidden` gives for a batch: hidden states (B, T, d)."""
        before = 0 if self.vectors.prompts or not prompt else self._tokens(prompt)

        def forward(batch: dict[str, Tensor]) -> Tensor:
            mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).clone()
            mask[:, :before] = 0
            return self.vectors(hidden(batch).float(), mask)

        return torch.from_numpy(predict(model, self.fit, features, self.batch_size, forward))

    def hidden(self, model: PreTrainedModel) -> Forward:
        """What `encode` takes, of a model."""

        def forward(batch: dict[str, Tensor]) -> Tensor:
            found: Tensor = model.base_model(**batch).last_hidden_state
            return found

        return forward

    def of_file(self, run: Run) -> Forward:
        """What `encode` takes, of what a runtime runs."""

        def forward(batch: dict[str, Tensor]) -> Tensor:
            found = run({name: tensor.numpy() for name, tensor in batch.items()})
            if _HIDDEN not in found:
                raise FactcliError(
                    f"The file of {self.source.name} gives {', '.join(found)} and no {_HIDDEN}, of which vectors are "
                    "made: take --backend torch."
                )
            return torch.from_numpy(found[_HIDDEN])

        return forward

    def _tokens(self, prompt: str) -> int:
        """Of a prompt, with what the tokenizer puts before a text and without what it puts behind."""
        ids = self.fit.tokenizer(prompt)["input_ids"]
        return len(ids) - (bool(ids) and ids[-1] in self.fit.tokenizer.all_special_ids)


def embedder_of(source: Model, purpose: Purpose, trained: Trained, how: Data, model: PreTrainedModel) -> Embedder:
    """Of `model`, which may be on the meta device. What its files say of how it is used is noted."""
    if how.text_to_text:
        raise UsageError(f"{source.name} does not answer in words: leave out --text-to-text.")
    vectors, usage = purpose.vectors or Vectors(normalized=False), Usage()
    fit = find_fit(model, source.tokenizer, source.name)
    if purpose.vectors is None:
        note(f"{source.name} does not say how it makes a vector of a text: the mean over its tokens is taken.")
    else:
        usage, trained = read_usage(source.path, source.name), with_length(source, fit, trained, how)
    limit = fit.limit(how.max_length, False, trained=trained.max_length)
    return Embedder(source, fit, vectors, usage, limit, how.batch_size)


def with_length(source: Model, fit: Fit, trained: Trained, how: Data) -> Trained:
    """With the length at which sentence-transformers cuts what the model reads, where it was not trained here: what its
    files say, else as much as fits. A note says so."""
    if trained.max_length is not None or how.max_length is not None:
        return trained
    said = int(fit.tokenizer.model_max_length or _UNLIMITED)
    most = min((n for n in (fit.positions, said) if n is not None and n < _UNLIMITED), default=None)
    length = longest_text(source.path) or most
    if length not in (None, LENGTH):
        note(f"{source.name} is measured as its files say: --max-length {length}.")
    return replace(trained, max_length=length)


def between(name: str, a: Tensor, b: Tensor) -> Tensor:
    """How similar each of the vectors `a` (n, k) is to each of `b` (m, k), by one of usage.SIMILARITIES: (n, m)."""
    if name == "cosine":
        a, b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
    return a @ b.T if name in ("cosine", "dot") else -torch.cdist(a, b, p=1.0 if name == "manhattan" else 2.0)


def of_pairs(name: str, a: Tensor, b: Tensor) -> Tensor:
    """How similar `a` and `b` (n, k) are row by row: (n,)."""
    if name == "cosine":
        return torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return (a * b).sum(-1) if name == "dot" else -torch.linalg.vector_norm(a - b, 1 if name == "manhattan" else 2, -1)
