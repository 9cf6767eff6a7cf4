"""evaluate: the metrics of models on a task."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.tables import read_table
from ..data.tasks import GLUE, PAIR, TEXT, Task, data_commit, load_split
from ..errors import UsageError
from ..models.devices import pick_device
from ..models.fit import LENGTH
from ..models.memory import memory_advice
from ..models.model import Model, find_model
from ..models.trained import Trained, read_trained
from ..notes import note
from ..recipe import running
from ..recipe.commands import EVAL, Asked, answers
from ..recipe.rules import Rule, refuse_idle, unless
from ..scores.evaluating import LABEL_COLUMN, columns_of, file_task, measure_source
from ..scores.metrics import is_failed
from ..scores.results import check_card, identify, keep
from .unchanged import unchanged

if TYPE_CHECKING:
    pass


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
    Rule(("data_revision",), lambda v: unless(v["data_dir"] is None, "with --data-dir, which is not on the Hub")),
)


@answers(EVAL)
@unchanged()
def evaluate(asked: Asked) -> list[dict[str, Any]]:
    """Metrics of each of `models` (directories or Hub ids, dense or factorized) on a GLUE task or a file.

    Columns, lengths and labels are by default those that the model was trained with, where it remembers them (a note
    says so). `progress` is called with (done, total, name).

    Returns:
        One object a model, as `eval --json` prints it. Its `majority` is the accuracy of the commonest label of what is
        evaluated (there is no training set here), or the micro-F1 of each label's commoner value where examples have
        any number of labels; `failed_run` says that the model's is no higher. A directory also gets them as
        eval_results.json (see scores.results.keep).

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, such as labels whose order cannot be told.
    """
    names = list(asked.of(running.Models).models)
    how, origin = asked.of(running.Measured), asked.of(running.Source)
    task, validation = how.task, how.validation
    if (task is None) == (validation is None):
        raise UsageError("Give either --task, for GLUE, or --validation FILE.")
    refuse_idle(RULES, vars(how), asked.values.keys())
    where = pick_device(asked.of(running.Device).device)
    sources = [find_model(n, origin.revision, origin.trust_remote_code, accept_factorized=True) for n in names]
    for source in sources if how.update_card else ():
        check_card(source)
    results = []
    commit = data_commit(GLUE[task], how.data_dir, how.data_revision) if task is not None else None
    there = read_table(Path(validation)).names if validation is not None else ()
    for source in sources:
        started = time.perf_counter()
        trained = read_trained(source.path)
        if task is not None:
            chosen = GLUE[task]
        else:
            assert validation is not None
            text, label = columns_of(trained, there, how.text_column, how.label_column)
            chosen = file_task(source, validation, text, label, how.label_names, trained.labels)
        _say_how(source, trained, chosen, there, how)
        data = load_split(chosen, how.split, how.data_dir, how.limit, commit or how.data_revision)
        with memory_advice(how.batch_size, training=False):
            metrics, majority = measure_source(source, chosen, data, trained, how, where, asked.called.get("progress"))
        part = {} if how.limit is None else {"limit": how.limit}
        result = {
            "model": source.name,
            "task": chosen.name,
            "split": how.split or chosen.validation,
            "examples": len(data),
            "metrics": metrics,
            "majority": majority,
            "failed_run": is_failed(chosen, metrics, majority),
            "seconds": round(time.perf_counter() - started, 2),
        } | part
        results.append(result)
        about = identify(chosen, how.split or chosen.validation, how.data_dir, commit)
        keep(source, {k: v for k, v in result.items() if k != "model"} | about, how.update_card)
    return results


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
