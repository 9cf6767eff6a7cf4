"""export: the files of a model for ONNX Runtime and OpenVINO."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..card.runtimes import record
from ..data.tables import read_table
from ..errors import UsageError
from ..files.outputs import Output, inputs
from ..models.export import write_bare
from ..models.model import Model, find_model
from ..models.purpose import find_purpose
from ..models.trained import read_trained
from ..recipe import running
from ..recipe.commands import EXPORT, Asked, answers
from ..recipe.rules import refuse_idle
from ..runtimes.joining import check_free, joining
from ..runtimes.make import Written, fit_of, names_of, refuse_without_data, worst, write_files
from ..runtimes.options import RULES
from ..runtimes.rows import read_rows
from ..scores.exams import Questions, asked_of, commit_of_data, data_of, task_for
from .unchanged import unchanged


@answers(EXPORT)
@unchanged()
def export(asked: Asked) -> dict[str, Any]:
    """Write the files of `model` (a directory or Hub id, dense or factorized) that ONNX Runtime and OpenVINO load, in
    `precision`, and compare each with the model; they join its directory, or a directory `output` of their own.

    They are compared on the examples of `task` or `validation`; else on texts of `calibration` that were not calibrated
    on; else on random tokens. A float32 file must equal the model. `progress` is called with (done, total, step).

    Returns:
        The result object of the command's --json, with model, output, files (path, format, precision, bytes, checked),
        checked (the worst of them: max_difference, agreement, metric, loss in points) and seconds.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right; a file that loses more than it may. Nothing is left then.
    """
    started = time.perf_counter()
    how, into, data = asked.of(running.Exporting), asked.of(running.Into), asked.of(running.Data)
    origin = asked.of(running.Source)
    labelled = data.task is not None or data.validation is not None
    refuse_without_data(how, labelled)
    refuse_idle(RULES, vars(data) | vars(how) | {"output": into.output}, asked.values.keys())
    name = asked.of(running.Model).model
    source = find_model(name, origin.revision, origin.trust_remote_code, accept_factorized=True)
    if into.output is None and source.repo_id is not None:
        raise UsageError(f"{name} is on the Hub: give --output, a directory for its files.")

    def make(work: Path) -> list[Written]:
        loaded = source.load(torch.float32)
        exam = _exam(source, data, loaded.model, sorted(loaded.absent)) if labelled else None
        fit = exam.fit if exam is not None else fit_of(source, loaded)
        rows = read_rows(how, data, fit, source.config, exam)
        return write_files(source, loaded, fit, how, rows, work)

    if into.output is None:
        check_free(source.path, names_of(how), into.overwrite)
        with joining(source.path) as work:
            files = make(work)
        record(source.path, [f.to_recipe() for f in files])
        place = source.path
    else:
        place = Path(into.output)
        _apart(source, place, into.overwrite, how, data, make, files := [])
    return {
        "model": name, "output": str(place), "files": [f.to_json() for f in files], "checked": worst(files),
        "seconds": round(time.perf_counter() - started, 2),
    }  # fmt: skip


def _apart(
    source: Model, place: Path, overwrite: bool, how: running.Exporting, data: running.Data,
    make: Callable[[Path], list[Written]], files: list[Written],
) -> None:  # fmt: skip
    """A directory with what runtimes and tokenizers read, and no weights for PyTorch."""
    read = inputs(("the source", source.name), ("--calibration", how.calibration), ("--data-dir", data.data_dir),
                  ("the validation file", data.validation))  # fmt: skip
    with Output(place, overwrite, read).new() as work:
        write_bare(work, source)
        files += make(work)
        record(work, [f.to_recipe() for f in files], source)


def _exam(source: Model, data: running.Data, model: Any, absent: list[str]) -> Questions:
    """The examples with labels that files are held to."""
    there = read_table(Path(data.validation)).names if data.validation is not None else ()
    trained, purpose, how = read_trained(source.path), find_purpose(source), running.Measured(**vars(data))
    task = task_for(source, purpose, how, trained, there)
    return asked_of(source, purpose, task, data_of(task, how, commit_of_data(how)), trained, how, model, absent)
