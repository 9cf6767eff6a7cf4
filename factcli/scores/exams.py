"""What a model is asked, by what it is for: a head about its labels, an embedding model about its similarities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from transformers import PreTrainedModel

from ..data.retrieval import Collected, hub_id, read_collected, retrieval_task
from ..data.tasks import RETRIEVAL, Task, load_split
from ..errors import FactcliError
from ..hub.data import commit_of
from ..models.fit import Fit, find_fit
from ..models.model import Model
from ..models.purpose import Purpose
from ..models.trained import Trained
from ..recipe.running import Measured
from .embedding import embedder_of, embeds, with_length
from .evaluating import chosen_task, commit_of_task, exam_of
from .prediction import Forward, Run
from .reranking import Reranking, ranks, reranking_of
from .retrieval import retrieval_of
from .similarity import pair_task, similarity_of

if TYPE_CHECKING:
    from datasets import Dataset

# As the Hub calls what models are for.
SIMILARITY, RANKING, TAGS = "sentence-similarity", "text-ranking", "token-classification"


class Questions(Protocol):
    """An exam of any kind: what is asked (`outputs`) and how the answers are marked (`metrics`)."""

    @property
    def task(self) -> Task: ...

    @property
    def fit(self) -> Fit: ...

    @property
    def majority(self) -> float | None: ...

    def outputs(self, model: PreTrainedModel | None, forward: Forward | None = None) -> Any: ...

    def of_file(self, run: Run) -> Forward: ...

    def metrics(self, outputs: Any) -> dict[str, float]: ...

    def failed(self, metrics: dict[str, float]) -> bool: ...


def commit_of_data(how: Measured) -> str | None:
    """The commit of what is measured on, where it is on the Hub."""
    if how.retrieval is None:
        return commit_of_task(how)
    there = hub_id(how.retrieval)
    return None if there is None else commit_of(there, how.data_revision)


def task_for(source: Model, purpose: Purpose, how: Measured, trained: Trained, there: Sequence[str]) -> Task:
    """What a model is measured on; a user's file has the columns `there`. Raises FactcliError where it cannot be."""
    if how.retrieval is None:
        named = pair_task(source.name, how, trained, there) if embeds(source, purpose) else None
        return named or chosen_task(source, how, trained, there)
    if embeds(source, purpose):
        return retrieval_task(how.retrieval, how.split)
    if purpose.kind == "number":
        raise FactcliError(
            f"{source.name} is a reranker, which needs candidates: give them as pairs, --validation FILE with a query, "
            "a candidate and a label in each row."
        )
    raise FactcliError(f"{source.name} {purpose}: --retrieval measures embedding models; give --task or --validation.")


def data_of(task: Task, how: Measured, commit: str | None) -> "Dataset | Collected":
    """The rows, or the collection. Raises FactcliError as `load_split` and `read_collected`."""
    revision = commit or how.data_revision
    if task.problem_type == RETRIEVAL:
        return read_collected(task, how.limit, revision)
    return load_split(task, how.split, how.data_dir, how.limit, revision)


def asked_of(
    source: Model,
    purpose: Purpose,
    task: Task,
    data: "Dataset | Collected",
    trained: Trained,
    how: Measured,
    model: PreTrainedModel,
    absent: Sequence[str],
) -> Questions:
    """What `model`, which may be on the meta device, is asked, of what `task_for` and `data_of` gave; `absent` are the
    weights that it lacks. Raises FactcliError where they do not fit together."""
    if embeds(source, purpose):
        embedder = embedder_of(source, purpose, trained, how, model)
        if isinstance(data, Collected):
            return retrieval_of(embedder, task, data)
        return similarity_of(embedder, task, data)
    if purpose.kind != "number" or not ranks(task, data):
        return exam_of(source, task, data, trained, how, model, absent)
    trained = with_length(source, find_fit(model, source.tokenizer, source.name), trained, how)
    return reranking_of(exam_of(source, task, data, trained, how, model, absent), data)


def pipeline_of(source: Model, purpose: Purpose, exam: Questions) -> dict[str, str]:
    """What an entry says of the kind of task, where that is not the classification of texts."""
    kind = SIMILARITY if embeds(source, purpose) else RANKING if isinstance(exam, Reranking) else None
    kind = TAGS if purpose.kind == "token" else kind
    return {"task_type": kind} if kind else {}
