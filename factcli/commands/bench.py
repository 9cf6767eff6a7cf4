"""bench: what models cost, beside a baseline measured in alternation."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ..card.results import update_speed
from ..errors import FactcliError, UsageError
from ..files.atomic import updating
from ..measuring.apart import Runner, measure_apart, runners
from ..measuring.cell import load_subject, measure_cell
from ..measuring.options import APART, RULES, check, make_cells, make_schedule
from ..measuring.plots import plot_costs, plot_frontier
from ..measuring.ratios import compare, judge
from ..measuring.timing import Cell, Schedule
from ..models.cpus import instructions
from ..models.devices import pick_device
from ..models.fit import check_length, positions
from ..models.precision import say_if_slow
from ..progress import part
from ..recipe import running
from ..recipe.commands import BENCH, Asked, answers
from ..recipe.rules import refuse_idle
from ..runtimes.extras import versions
from ..runtimes.running import check_device
from .unchanged import unchanged

Progress = Callable[[int, int, str], None]


@answers(BENCH)
@unchanged()
def bench(asked: Asked) -> dict[str, Any]:
    """Latency, throughput, FLOPs, memory and size of `models` (directories or Hub ids, dense or factorized), and all of
    them as ratios to `baseline`, a model of whatever architecture that is measured in turns with them.

    With `backend` or `precision` every model is run by each backend, in each precision that it has a file for (see
    `export`), in a process of its own; the baseline by torch in float32.

    Every combination of batch size, sequence length and variant is a cell of its own. Models run in inference mode,
    with the head that their checkpoint names, on random tokens (see inputs.make_inputs); all are in memory at once.

    Returns:
        What was measured on ("device", "device_name", "cores", "threads", "dtype", "float32_matmul_precision", "torch",
        "protocol", "compile_mode"), "results" (one a model and cell, the baseline's first; latencies in ms, "flops" a
        forward pass, "samples_ms" by round and forward), "ratios" (see ratios.compare; above 1 the model is cheaper)
        and "notes". "accuracy" of a result is what `evaluate` left in the model's directory, by task and split.

    Raises:
        FactcliError: Whatever a user can put right, such as an input longer than a model's positions.
    """
    names, how = list(asked.of(running.Models).models), asked.of(running.Timed)
    device = asked.of(running.Device).device
    baseline, update_card, plot = how.baseline, how.update_card, how.plot
    cells = make_cells(how)
    schedule = make_schedule(how, cells)
    if device.startswith("mps"):
        raise UsageError("--device mps is not measured: take cpu, where factcli computes on such a machine.")
    apart = how.backend != ("torch",) or bool(how.precision)
    where = pick_device(check_device(device, "torch" if not apart else next(b for b in (*how.backend, "onnx"))))
    kind = getattr(torch, how.dtype) if how.dtype else None
    refuse_idle((*RULES, *APART), {"device": where.type, "apart": apart}, asked.values.keys())
    check(names, cells, where, plot)
    if apart:
        return _apart(names, how, cells, schedule)
    if how.dtype == "bfloat16" and where.type == "cpu":
        say_if_slow("--dtype", "bfloat16")
    subjects = [load_subject(name, where, kind) for name in ([baseline] if baseline is not None else []) + names]
    for s in subjects[baseline is not None :] if update_card else []:
        if s.source.repo_id is not None or not (s.source.path / "README.md").is_file():
            raise FactcliError(f"{s.source.name} is no directory with a README.md: leave out --update-card.")
    for s in subjects:  # before the first cell, rather than after minutes of measuring
        check_length(s.source.name, positions(s.model), max(length for _, length, _ in cells), "--sequence-length")
    results: list[dict[str, Any]] = []
    ratios: list[dict[str, Any]] = []
    guard = torch.cuda.device(where) if where.type == "cuda" else nullcontext()
    with _threads(how.threads) as used, torch.inference_mode(), guard:
        for done, cell in enumerate(cells):
            with part(done, len(cells), "{} x {} {}".format(*cell)):
                measured = measure_cell(subjects, cell, schedule, where)
            if baseline is not None:
                measured[0]["baseline"] = True
                ratios += [compare(model, measured[0], schedule.centre) for model in measured[1:]]
            results += measured
    judge(ratios)
    result: dict[str, Any] = {
        "device": str(where),
        "device_name": torch.cuda.get_device_name(where) if where.type == "cuda" else None,
        "cores": os.cpu_count(),
        "threads": used,
        "dtype": how.dtype,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "torch": torch.__version__,
        "protocol": how.protocol,
        "compile_mode": "default" if any(v == "compile" for *_, v in cells) else None,
        "results": results,
        "ratios": ratios,
        "notes": [],
    }
    for s in subjects[baseline is not None :] if update_card else []:
        card = s.source.path / "README.md"
        try:
            with updating(card):
                update_speed(card, result, s.source.name)
        except (OSError, ValueError) as error:  # what was measured is not lost for it
            result["notes"].append(f"{card} could not be updated ({' '.join(str(error).split())[:200]}).")
    if plot is not None:
        _plot(result, [s.source.name for s in subjects if not s.accuracy], Path(plot), plot_costs)
    return result


def _apart(names: list[str], how: running.Timed, cells: list[Cell], schedule: Schedule) -> dict[str, Any]:
    """What `bench` gives, of several backends."""
    chosen = runners(names, how.backend, how.precision)
    if how.baseline is not None:
        chosen = [*runners([how.baseline], ("torch",), ("float32",)), *chosen]
    if how.update_card:
        raise UsageError("--update-card is for models as torch runs them: leave out --backend and --precision.")
    if any((r.backend, r.precision) == ("torch", "bfloat16") for r in chosen):
        say_if_slow("--precision", "bfloat16")
    threads = how.threads or torch.get_num_threads()
    results = measure_apart(chosen, cells, schedule, threads)
    ratios: list[dict[str, Any]] = []
    for start in range(0, len(results), len(chosen)) if how.baseline is not None else ():
        first, *others = results[start : start + len(chosen)]
        first["baseline"] = True
        ratios += [compare(r, first, schedule.centre) for r in others]
    judge(ratios)
    result = {
        "device": "cpu", "device_name": None, "instructions": list(instructions()), "cores": os.cpu_count(),
        "threads": threads, "dtype": None, "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "torch": torch.__version__, "versions": {b: versions(b) for b in how.backend if b != "torch"},
        "protocol": how.protocol, "compile_mode": None, "results": results, "ratios": ratios, "notes": [],
    }  # fmt: skip
    if how.plot is not None:
        unknown = dict.fromkeys(r.said for r in chosen if not _measured(r, results))
        _plot(result, list(unknown), Path(how.plot), plot_frontier)
    return result


def _measured(runner: Runner, results: list[dict[str, Any]]) -> bool:
    """Whether the accuracy of what it runs is known."""
    return any(r["accuracy"] for r in results if (r["model"], r["file"]) == (runner.source.name, runner.runs))


def _plot(result: dict[str, Any], unknown: list[str], file: Path, draw: Callable[[dict[str, Any], Path], None]) -> None:
    """What cannot be drawn is said in the result's notes: what was measured is not lost for it."""
    result["notes"] += [
        f"{name} has no accuracy in eval_results.json: 'factcli eval' leaves one there." for name in unknown
    ]
    try:
        draw(result, file)
    except FactcliError as error:
        result["notes"].append(str(error))


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """torch's threads while the body runs; gives their number."""
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
