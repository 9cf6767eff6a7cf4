"""Options of bench: read, and refused before anything is loaded."""

from itertools import product
from pathlib import Path

import torch

from ..errors import FactcliError, UsageError
from ..recipe.rules import Rule, unless
from ..recipe.running import Timed
from .timing import Cell, Schedule, paper_schedule

RULES = (
    Rule(("threads",), lambda v: unless(v["device"] == "cpu", f"with --device {v['device']}"), "take --device cpu"),
)
APART = (
    Rule(("dtype",), lambda v: unless(not v["apart"], "with --backend or --precision"), "give --precision"),
    Rule(
        ("variant", "protocol"),
        lambda v: unless(not v["apart"], "with --backend or --precision, which runs models as they are"),
    ),
)
SECONDS = 60.0
LEAST_ROUNDS, MOST_ROUNDS = 5, 50
MOST_COMPILED = 8  # torch.compile keeps so many versions of one function, and runs further ones eagerly


def make_cells(how: Timed) -> list[Cell]:
    """Every combination, in order. Raises UsageError for sizes below 1, anything given twice."""
    for option, sizes in (("--batch-size", how.batch_size), ("--sequence-length", how.sequence_length)):
        if not sizes or min(sizes) < 1:
            raise UsageError(f"{option} is at least 1.")
    cells = list(product(how.batch_size, how.sequence_length, how.variant))
    if len(set(cells)) < len(cells):
        raise UsageError("--batch-size, --sequence-length or --variant has something twice.")
    return cells


def make_schedule(how: Timed, cells: list[Cell]) -> Schedule:
    """The rounds of each cell. Raises UsageError for options that do not go together."""
    seconds, runs = how.seconds, how.runs
    if seconds is not None and runs is not None:
        raise UsageError("Give either --seconds or --runs.")
    if (seconds is not None and not seconds > 0) or (runs is not None and runs < 1):
        raise UsageError("--seconds is above 0 and --runs at least 1.")
    if how.protocol == "paper":
        if seconds is not None or runs is not None or any(batch != 1 for batch, *_ in cells):
            raise UsageError(
                "--protocol paper is 8 runs over single examples: leave out --batch-size, --seconds and --runs."
            )
        return paper_schedule()
    if runs is not None:
        return Schedule(least=runs, most=runs, seconds=0)
    return Schedule(LEAST_ROUNDS, MOST_ROUNDS, (seconds or SECONDS) / len(cells))


def check(
    names: list[str],
    cells: list[Cell],
    device: torch.device,
    plot: str | Path | None,
) -> None:
    """Raises FactcliError for whatever else can be refused before anything is loaded."""
    if not names:
        raise UsageError("Give at least one model.")
    if len(set(names)) < len(names):
        raise UsageError(f"A model is given twice: {', '.join(names)}.")
    variants = {variant for *_, variant in cells}
    if "cuda-graphs" in variants and device.type != "cuda":
        raise FactcliError("--variant cuda-graphs needs a CUDA GPU: take eager or compile.")
    if "compile" in variants and len(names) >= MOST_COMPILED:
        raise UsageError(f"--variant compile takes at most {MOST_COMPILED - 1} models and a baseline: run it twice.")
    if plot is not None:
        from .plots import COST_SUFFIXES, check_plot

        check_plot(Path(plot), COST_SUFFIXES, every=True)
