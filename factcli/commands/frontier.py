"""frontier: every way to make a model smaller, in one table and one picture."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import FactcliError
from ..measuring.apart import Runner
from ..measuring.frontier import Clock, optimal
from ..measuring.picture import plot_ways
from ..models.fit import check_length, positions
from ..models.model import Model, find_model
from ..notes import said_before
from ..recipe import running
from ..recipe.commands import FRONTIER, Asked, answers
from ..runtimes.running import parts_of
from .comparing import Scores, check_asked, installed, kept
from .texts import texts_of
from .unchanged import unchanged
from .ways import Candidate, Files, Maker, candidates

Row = dict[str, Any]


@answers(FRONTIER)
@unchanged()
def frontier(asked: Asked) -> dict[str, Any]:
    """Compare, for one dense `model` (a directory or Hub id) and one task, what one could do to make it smaller: dense
    in bfloat16 and int8; factorized with kfac at several budgets, with and without the embeddings; fewer layers; plain
    SVD; each in every runtime that is installed, and with `heal` trained on texts with the dense model as teacher.

    They are held to labels (`task`, `validation`), or to the dense model on a tenth of the texts `calibration`, which
    nothing is calibrated or trained on. Each is timed in turns with the dense model in PyTorch, in processes of their
    own. With `output` the models stay there, and a run that was interrupted goes on. `progress` is called with (done,
    total, name).

    Returns:
        The result object of the command's --json: model, metric, rows (how many it is measured on), batch_size,
        sequence_length, "results" (model, way, said, keep, healed, backend, precision, bytes, milliseconds, speedup
        over dense in PyTorch, score, "lost" in points of 100, "optimal" by "bytes" and "milliseconds"), "left_out" with
        reasons, output, plot, notes and seconds. Milliseconds are those of the dense model divided by the speed-up;
        None where it could not be timed.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right.
    """
    started = time.perf_counter()
    held, ways, clocked = asked.of(running.Held), asked.of(running.Ways), asked.of(running.Clocked)
    into, origin, name = asked.of(running.Compared), asked.of(running.Source), asked.of(running.Model).model
    check_asked(held, ways, clocked, into, asked.values.keys())
    backends = installed(clocked.backend)
    source = find_model(name, origin.revision, origin.trust_remote_code)
    if clocked.seconds:
        check_length(source.name, positions(source.outline.model), clocked.sequence_length, "--sequence-length")
    progress = asked.called.get("progress") or (lambda done, total, name: None)
    with kept(into.output, source, held, ways) as work:
        maker = Maker(source, work, texts_of(source, held, ways, work), backends, ways)
        scores, chosen = Scores(source, work, held), list(candidates(ways))
        runners: list[Runner] = []
        rows: list[Row] = []
        for done, one in enumerate(chosen):
            progress(done, len(chosen), one.folder)
            model = maker.made(one)
            if model is not None:
                files = maker.files(one, model)
                with said_before() if rows else nullcontext():
                    rows += rows_of(one, model, files, scores.of(model, files))
                runners += runners_of(model, files)
        dense = Runner(runners[0].source, "torch", "float32", None)
        clock = Clock(dense, (clocked.batch_size, clocked.sequence_length), clocked.seconds, clocked.threads)
        speedups = clock.speedups(runners, progress) if clocked.seconds else [None] * len(rows)
        for row, speedup in zip(rows, speedups, strict=True):
            row["speedup"] = speedup
    results = judged(rows, clock.milliseconds)
    result = {
        "model": name, "metric": results[0]["metric"], "rows": results[0]["rows"], "batch_size": clocked.batch_size,
        "sequence_length": clocked.sequence_length,
        "results": [{k: v for k, v in row.items() if k not in ("metric", "rows")} for row in results],
        "left_out": maker.left_out, "output": None if into.output is None else str(into.output),
        "plot": None if into.plot is None else str(into.plot), "notes": [],
    }  # fmt: skip
    if into.plot is not None:
        try:
            plot_ways(result, Path(into.plot))
        except FactcliError as error:  # what was measured is not lost for it
            result["notes"].append(str(error))
    return result | {"seconds": round(time.perf_counter() - started, 2)}


def runners_of(model: Model, files: Files) -> list[Runner]:
    """What is timed of a model."""
    return [Runner(model, backend, None if file is None else precision, file) for (backend, precision), file in
            files.items()]  # fmt: skip


def rows_of(one: Candidate, model: Model, files: Files, measured: list[Row]) -> list[Row]:
    """A row for each of the files."""
    sizes = [
        sum(part.stat().st_size for part in (model.stored.files if file is None else parts_of(backend, file)))
        for (backend, _), file in files.items()
    ]
    about = {"model": one.folder, "way": one.way, "said": one.said, "keep": one.keep, "healed": one.healed is not None}
    return [about | found | {"bytes": size} for found, size in zip(measured, sizes, strict=True)]


def judged(rows: list[Row], milliseconds: float | None) -> list[Row]:
    """The rows with points lost against the first, the dense model, their milliseconds, and where none beats them."""
    for row in rows:
        known = row["speedup"] is not None and milliseconds is not None
        row["milliseconds"] = milliseconds / row["speedup"] if known else None
        row["lost"] = round(100 * (rows[0]["score"] - row["score"]), 4)
    marks = {key: optimal([(row[key], row["score"]) for row in rows]) for key in ("bytes", "milliseconds")}
    for i, row in enumerate(rows):
        row["optimal"] = {key: found[i] for key, found in marks.items()}
    return rows
