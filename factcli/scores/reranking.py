"""A reranker, measured on pairs of a query and a candidate: the order in which it puts the candidates of each query."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..data.tasks import TEXT, Task
from ..errors import FactcliError
from ..notes import note
from . import ranking
from .evaluating import Exam

if TYPE_CHECKING:
    from datasets import Dataset


def ranks(task: Task, data: "Dataset") -> bool:
    """Whether a user's pairs with numbers are candidates of queries: their first texts have two rows or more each, on
    average. A few that occur again among pairs of all kinds make no ranking."""
    return bool(task.files) and task.pair and task.regression and len(data) >= 2 * len(set(data[TEXT]))


@dataclass(frozen=True)
class Reranking(Exam):
    """The candidates of each query, for a model with one output. `queries` has the query of each row."""

    queries: Sequence[str]

    def metrics(self, outputs: NDArray[Any]) -> dict[str, float]:
        """Means over the queries that have a candidate with a label above 0. Of candidates with the same score the less
        relevant comes first, so that a model that tells nothing apart gains nothing."""
        found = self._ranked(outputs[:, 0].tolist())
        return {
            "average_precision": fmean(ranking.average_precision(gains) for gains in found),
            "ndcg@10": fmean(ranking.ndcg(gains, gains) for gains in found),
            "mrr@10": fmean(ranking.reciprocal_rank(gains) for gains in found),
        }

    def failed(self, metrics: dict[str, float]) -> bool:
        """Whether a random order would do as well."""
        found = self._ranked(self.labels.tolist())
        return not metrics["ndcg@10"] > fmean(ranking.chance(gains, len(gains)) for gains in found)

    def _ranked(self, scores: Sequence[float]) -> list[list[float]]:
        """The labels of each query's candidates, the highest score first; a score that is no number is the lowest."""
        found: dict[str, list[tuple[float, float]]] = {}
        for query, score, label in zip(self.queries, scores, self.labels.tolist(), strict=True):
            found.setdefault(query, []).append((-score if score == score else float("inf"), label))
        lists = [[label for _, label in sorted(rows)] for rows in found.values()]
        return [labels for labels in lists if any(label > 0 for label in labels)]


def reranking_of(exam: Exam, data: "Dataset") -> Reranking:
    """The same examples, as candidates of their first texts. Raises FactcliError where no label is above 0."""
    found = Reranking(**vars(exam), queries=list(data[TEXT]))
    total, asked = len(set(found.queries)), len(found._ranked(exam.labels.tolist()))
    if not asked:
        raise FactcliError(f"No pair of {exam.task.name} has a label above 0: give every query a candidate that fits.")
    left = f"; {total - asked} without a label above 0 are left out" if asked < total else ""
    note(f"The candidates of each of {total} queries of {exam.task.name} are ranked, by their first text{left}.")
    return found
