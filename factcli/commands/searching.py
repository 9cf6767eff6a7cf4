"""A conversion whose budget is looked for: candidates are made as they would be shipped, and the smallest one that is
good enough is what its budget is taken from."""

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..compress.measured import Measured
from ..compress.planning import check_feasible, whole
from ..errors import FactcliError
from ..files.outputs import Output, workspace
from ..models.model import Model, find_model
from ..searching.bisection import LARGEST, SMALLEST, Candidate, bisect
from ..searching.goal import Target
from ..searching.rows import Judge, RuntimeFile, judge
from .converting import Conversion

WIDER = 1.5  # from one share to the next where the structure cannot keep so little


def searched(how: Conversion, source: Model, target: Target, place: Output | None) -> tuple[Conversion, dict[str, Any]]:
    """The conversion with the smallest budget that meets the target, and what the search was, for --json: goal, metric,
    rows, dense scores, candidates, keep, and loss with its interval on rows that nothing was chosen by.

    Raises FactcliError where no budget meets it, and as `judge`.
    """
    judging = judge(whole(source), target, how.recipe.seed)
    with workspace(place) as work:
        making = _Candidates(how, source, judging, work)
        tried, best = bisect(making.made, judging.allowed, _lowest(how, source))
        if best is None:
            least = min(tried, key=lambda one: one.loss)
            raise FactcliError(
                f"No budget loses at most {target}: the least was {least.loss:.2f} points, at {least.keep} of the "
                f"targets, on {len(judging.choosing.data)} rows. Allow more, take another criterion (kfac), or train "
                "it back with 'factcli finetune'."
            )
        lost, (low, high) = judging.reported(*making.kept[best.keep], how.recipe.seed)
    part = judging.choosing
    return replace(how, recipe=how.recipe.but(keep=best.keep)), {
        "goal": {"max_loss": target.amount, "unit": "percent" if target.relative else "points"},
        "metric": part.metric,
        "rows": {"choose": len(part.data), "report": len(judging.reporting.data)},
        "dense": {"choose": part.scores[part.metric], "report": judging.reporting.scores[part.metric]},
        "allowed": judging.allowed,
        "candidates": [asdict(one) for one in tried],
        "keep": best.keep,
        "loss": lost,
        "interval": [low, high],
    }


class _Candidates:
    """Makes models of one source; the statistics are gathered once. `kept` are those on disk that may yet be the best:
    by their share, the model and its file for a runtime (backend, path; None: the model itself is measured)."""

    def __init__(self, how: Conversion, source: Model, judging: Judge, work: Path) -> None:
        self.how, self.source, self.judging, self.work = how, source, judging, work
        self.known: Measured | None = None
        self.kept: dict[float, tuple[Model, RuntimeFile | None]] = {}

    def made(self, keep: float) -> Candidate:
        """One with this share of its targets, measured on the rows that choose."""
        started, folder = time.perf_counter(), self.work / str(keep)
        how = replace(self.how, recipe=self.how.recipe.but(keep=keep))
        planned = how.planned(self.source, known=self.known)
        self.known = planned.measured
        _, _, files = how.written(self.source, planned, Output(folder))
        small = find_model(str(folder), None, self.source.trusted, accept_factorized=True)
        file = (files[0].format, folder / files[0].path) if files else None
        lost, _ = self.judging.loss(small, self.judging.choosing, file)
        size = files[0].bytes if files else sum(f.stat().st_size for f in small.stored.files)
        self._keep(keep, small, file, lost)
        return Candidate(keep, size, lost, round(time.perf_counter() - started, 2))

    def _keep(self, keep: float, small: Model, file: RuntimeFile | None, lost: float) -> None:
        """A larger one, or one that loses too much, is never the answer: its files go."""
        if lost > self.judging.allowed:
            shutil.rmtree(small.path)
            return
        for larger, _ in self.kept.values():
            shutil.rmtree(larger.path)
        self.kept = {keep: (small, file)}


def _lowest(how: Conversion, source: Model) -> float:
    """The smallest share to try that the structure can be made of."""
    keep = SMALLEST
    while True:
        try:
            check_feasible(source, how.recipe.but(keep=round(keep, 4)))
            return keep
        except FactcliError:
            keep *= WIDER
            if keep >= LARGEST:
                raise
