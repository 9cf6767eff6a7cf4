"""An embedding model, measured on a collection: whether what is relevant to a query is among what is nearest to it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..data.retrieval import Collected
from ..data.tasks import Task
from ..models.fit import Fit
from ..notes import note
from ..progress import continued
from . import ranking
from .embedding import Embedder, between
from .prediction import Forward, Run

DEPTH = 100  # documents of a ranking
_BATCHES = 32  # of documents whose vectors are in memory
_QUERIES = 1024  # compared with them at a time


@dataclass
class Nearest:
    """The nearest documents of each of the vectors `queries` (n, k), as far as documents were shown: `rows` (n, most),
    by place, and their `scores`, the highest first; of equal ones the earlier. A query never finds the document at its
    place in `own` (n,), -1 for none."""

    queries: Tensor
    own: Tensor
    similarity: str
    most: int = DEPTH
    scores: Tensor = field(init=False)
    rows: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.scores = torch.empty(len(self.queries), 0)
        self.rows = torch.empty(len(self.queries), 0, dtype=torch.long)

    def show(self, documents: Tensor, first: int) -> None:
        """The vectors (m, k) of further documents, which are at `first` and after. Nothing of them is kept."""
        places = torch.arange(first, first + len(documents))
        parts = [slice(i, i + _QUERIES) for i in range(0, len(self.queries), _QUERIES)]
        found = [self._with(part, documents, places) for part in parts]
        self.scores, self.rows = (torch.cat(some) for some in zip(*found, strict=True))

    def _with(self, part: slice, documents: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        new = between(self.similarity, self.queries[part], documents).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        new[self.own[part].unsqueeze(1) == places] = -torch.inf
        scores = torch.cat([self.scores[part], new], 1)
        rows = torch.cat([self.rows[part], places.expand(len(new), -1)], 1)
        scores, order = (x[:, : self.most] for x in scores.sort(stable=True, dim=1, descending=True))
        return scores, rows.gather(1, order)


@dataclass(frozen=True)
class Retrieval:
    """A collection, for an embedding model. As BEIR has it, the document that has a query's own id is not found for it
    (where texts are searched for others like them it is the query), and a document is read behind its title."""

    task: Task
    embedder: Embedder
    data: Collected
    majority: None = None

    @property
    def fit(self) -> Fit:
        """Of the model and its tokenizer."""
        return self.embedder.fit

    def outputs(self, model: PreTrainedModel | None, forward: Forward | None = None) -> list[list[float]]:
        """For each query the grades of the documents that are nearest to it, the nearest first; of the model, or of the
        hidden states that `forward` gives. The search is exact, and holds a part of the documents at a time."""
        ours, usage = self.embedder, self.embedder.usage
        if forward is None:
            assert model is not None
            forward = ours.hidden(model)
        done, total, cut = 0, len(self.data) + self.data.size, False

        def encode(texts: list[str], prompt: str) -> Tensor:
            nonlocal done, cut
            features = ours.features(texts, prompt)
            if not cut:
                ours.limit.say(features)
                cut = any(len(f["input_ids"]) >= ours.limit.tokens for f in features)
            before = done
            done += len(texts)
            with continued(before, total):
                return ours.encode(features, forward, model, prompt)

        nearest = Nearest(encode(self.data.queries, usage.query), torch.tensor(self.data.own), usage.similarity)
        shown = 0
        for texts in _blocks(self.data.documents(), _BATCHES * ours.batch_size):
            nearest.show(encode(texts, usage.document), shown)
            shown += len(texts)
        found = zip(self.data.relevant, nearest.rows.tolist(), nearest.scores.tolist(), strict=True)
        return [
            [relevant.get(row, 0.0) for row, score in zip(rows, scores, strict=True) if score > -math.inf]
            for relevant, rows, scores in found
        ]

    def of_file(self, run: Run) -> Forward:
        """The same questions, asked of what a runtime runs."""
        return self.embedder.of_file(run)

    def metrics(self, outputs: list[list[float]]) -> dict[str, float]:
        """Means over the queries."""
        asked = [(ranked, list(grades.values())) for ranked, grades in zip(outputs, self.data.relevant, strict=True)]
        return {
            "ndcg@10": fmean(ranking.ndcg(ranked, grades) for ranked, grades in asked),
            "recall@100": fmean(ranking.recall(ranked, grades, DEPTH) for ranked, grades in asked),
            "mrr@10": fmean(ranking.reciprocal_rank(ranked) for ranked, _ in asked),
        }

    def failed(self, metrics: dict[str, float]) -> bool:
        """Whether a random order would do as well."""
        size = self.data.size
        return not metrics["ndcg@10"] > fmean(ranking.chance(list(g.values()), size) for g in self.data.relevant)


def retrieval_of(embedder: Embedder, task: Task, data: Collected) -> Retrieval:
    """What is asked of an embedding model. The prompts that it names are noted."""
    usage = embedder.usage
    named = [(what, text) for what, text in (("queries", usage.query), ("documents", usage.document)) if text]
    if named:
        prompts = " and ".join(f"{what} behind {text!r}" for what, text in named)
        note(f"{embedder.source.name} reads {prompts}, the prompts that it names.")
    return Retrieval(task, embedder, data)


def _blocks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while block := list(islice(texts, size)):
        yield block
