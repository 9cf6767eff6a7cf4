"""evaluate: the metrics of models on a task."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..data.tables import read_table
from ..data.tasks import PAIR, TEXT, Task
from ..errors import UsageError
from ..models.devices import pick_device
from ..models.fit import LENGTH
from ..models.memory import memory_advice
from ..models.model import Model, find_model
from ..models.purpose import find_purpose
from ..models.trained import Trained, read_trained
from ..notes import note
from ..recipe import running
from ..recipe.commands import EVAL, Asked, answers
from ..recipe.rules import Rule, refuse_idle, unless
from ..runtimes.running import check_device, find_file, open_file, parts_of
from ..scores.evaluating import LABEL_COLUMN
from ..scores.exams import asked_of, commit_of_data, data_of, pipeline_of, task_for
from ..scores.results import Entry, check_card, identify, keep
from .unchanged import unchanged

RULES = (
    Rule(
        ("split", "data_dir", "data_revision"),
        lambda v: unless(v["validation"] is None, "with --validation, a file of your own"),
        "give --task",
    ),
    Rule(
        ("text_column", "label_column"),
        lambda v: unless(v["task"] is None, f"with --task {v['task']}, whose columns are known"),
        "give --validation",
    ),
    Rule(
        ("text_column", "label_column", "label_names", "data_dir", "text_to_text"),
        lambda v: unless(v["retrieval"] is None, "with --retrieval, whose files say what is relevant"),
    ),
    Rule(
        ("data_revision",),
        lambda v: unless(
            v["retrieval"] is None or not Path(v["retrieval"]).exists(), "with --retrieval DIR, which is not on the Hub"
        ),
    ),
    Rule(("data_revision",), lambda v: unless(v["data_dir"] is None, "with --data-dir, which is not on the Hub")),
    Rule(("file",), lambda v: unless(v["backend"] != "torch", "with --backend torch"), "give another --backend"),
)


@answers(EVAL)
@unchanged()
def evaluate(asked: Asked) -> list[dict[str, Any]]:
    """Metrics of each of `models` (directories or Hub ids, dense or factorized) on a GLUE task, a file or a collection
    to search.

    `backend` runs the file of each that `factcli export` made for it, or the one named `file`, on the CPU.

    A model with a head answers about labels; with one output on pairs whose first texts are queries with several
    candidates, it ranks these (scores.reranking). An embedding model is measured by the similarities of its vectors
    (scores.similarity), or searches `retrieval` (scores.retrieval): a directory with corpus.jsonl, queries.jsonl and
    qrels.tsv or qrels/`split`.tsv, as BEIR's, or a data set of the Hub in mteb's layout.

    Columns, lengths and labels are by default those that the model was trained with, where it remembers them (a note
    says so). `progress` is called with (done, total, step).

    Returns:
        One object a model, as `eval --json` prints it. Its `majority` is the accuracy of the commonest label of what is
        evaluated (there is no training set here), or the micro-F1 of each label's commoner value where examples have
        any number of labels; `failed_run` says that the model's is no higher, or that its order is no better than
        chance. A directory also gets them as eval_results.json (see scores.results.keep).

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, such as labels whose order cannot be told.
    """
    names = list(asked.of(running.Models).models)
    how, origin, by = asked.of(running.Measured), asked.of(running.Source), asked.of(running.Backend)
    if [how.task, how.validation, how.retrieval].count(None) != 2:
        raise UsageError("Give either --task, for GLUE, or --validation FILE, or --retrieval DIR.")
    refuse_idle(RULES, vars(how) | vars(by), asked.values.keys())
    in_torch = by.backend == "torch"
    where = pick_device(check_device(asked.of(running.Device).device, by.backend))
    sources = [
        find_model(n, origin.revision, origin.trust_remote_code, weights=in_torch, accept_factorized=True)
        for n in names
    ]
    files = {source.name: find_file(source, by.backend, by.file) for source in sources if not in_torch}
    for source in sources if how.update_card else ():
        check_card(source)
    results = []
    commit = commit_of_data(how)
    for source in sources:
        file = files.get(source.name)
        result, about = _measure(source, how, commit, where, by.backend, file)
        results.append(result)
        parts = source.stored.files if file is None else parts_of(by.backend, file)
        keep(source, {k: v for k, v in result.items() if k != "model"} | about, parts, how.update_card)
    return results


def _measure(
    source: Model, how: running.Measured, commit: str | None, where: torch.device, backend: str, file: Path | None,
) -> tuple[dict[str, Any], Entry]:  # fmt: skip
    """The result of one model, or of its `file` for a runtime, and what its entry says beside it."""
    started = time.perf_counter()
    trained, purpose = read_trained(source.path), find_purpose(source)
    there = read_table(Path(how.validation)).names if how.validation is not None else ()
    chosen = task_for(source, purpose, how, trained, there)
    _say_how(source, trained, chosen, there, how)
    data = data_of(chosen, how, commit)
    with memory_advice(how.batch_size, training=False):
        if file is None:
            loaded = source.load()
            torch.nn.Module.to(loaded.model, where)
            exam = asked_of(source, purpose, chosen, data, trained, how, loaded.model, sorted(loaded.absent))
            outputs = exam.outputs(loaded.model)
        else:
            exam = asked_of(source, purpose, chosen, data, trained, how, source.outline.model, ())
            session = open_file(backend, file)
            outputs = exam.outputs(None, exam.of_file(session.run))
    metrics, split = exam.metrics(outputs), how.split or chosen.validation
    part: dict[str, Any] = {} if how.limit is None else {"limit": how.limit}
    part |= {} if file is None else {"runs": file.relative_to(source.path).as_posix()}
    result = {
        "model": source.name,
        "task": chosen.name,
        "split": split,
        "examples": len(data),
        "metrics": metrics,
        "majority": exam.majority,
        "failed_run": exam.failed(metrics),
        "seconds": round(time.perf_counter() - started, 2),
    } | part
    return result, identify(chosen, split, how.data_dir, commit) | pipeline_of(source, purpose, exam)


def _say_how(source: Model, trained: Trained, task: Task, there: Sequence[str], how: running.Measured) -> None:
    """A note on what is read as in training, where something else would be read without it, and on what cannot be."""
    used = []
    if how.max_length is None and trained.max_length not in (None, LENGTH):
        used.append(f"--max-length {trained.max_length}")
    if task.files and not how.text_column and trained.text_column:
        usual = tuple(name for name in (TEXT, PAIR) if name in there)
        if task.columns != trained.text_column:
            columns = (", ".join(names) for names in (trained.text_column, task.columns))
            note("{} was trained on other columns ({}): {} is read.".format(source.name, *columns))
        elif task.columns != usual:
            used += [f"--text-column {name!r}" for name in task.columns]
    if task.files and how.label_column is None and task.label == trained.label_column != LABEL_COLUMN:
        used.append(f"--label-column {task.label!r}")
    if used:
        note(f"{source.name} is measured as it was trained: {' '.join(used)}.")
