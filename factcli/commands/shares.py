"""Candidates of a search: each made as it would be shipped, measured, and kept while it may be the answer."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..compress.factorize import Errors
from ..compress.measured import Measured
from ..compress.planning import check_feasible
from ..errors import FactcliError
from ..files.outputs import Output
from ..models.model import Model, find_model
from ..notes import said_before
from ..recipe.factorizing import Recipe
from ..runtimes.make import Written
from ..runtimes.shipping import Shipment
from ..searching.bisection import LARGEST, SMALLEST, Candidate
from ..searching.goal import Goals
from ..searching.healing import Healing, options_for
from ..searching.journal import HEAL, HEALING, Journal
from ..searching.judging import Judge, RuntimeFile
from ..searching.stopwatch import milliseconds
from .converting import Conversion, Planned

WIDER = 1.5  # from one share to the next where the structure cannot keep so little


@dataclass(frozen=True)
class Made:
    """A candidate on disk: the directory, its plan, its errors (None where it was healed), its files for runtimes as
    --json has them, and what healing gave."""

    place: Output
    planned: Planned
    errors: Errors | None
    files: list[dict[str, Any]]
    healed: dict[str, Any] | None

    @classmethod
    def of(cls, place: Output, planned: Planned, errors: Errors | None, files: Sequence[Written]) -> "Made":
        """What `Conversion.written` gave."""
        return cls(place, replace(planned, loaded=None), errors, [file.to_json() for file in files], None)

    def model(self, trusted: bool) -> Model:
        return find_model(str(self.place.path), None, trusted, accept_factorized=True)

    @property
    def file(self) -> RuntimeFile | None:
        """What is measured in its place: the first file for a runtime."""
        return (self.files[0]["format"], self.place.path / self.files[0]["path"]) if self.files else None


class Candidates:
    """Makes models of one source; the statistics are gathered once. `kept` is the one on disk that may be the answer,
    by its share. They stand in the folder of the `journal`, and are called `shown` in what they say of themselves."""

    def __init__(
        self, how: Conversion, source: Model, goals: Goals, judge: Judge | None, journal: Journal, shown: Path
    ) -> None:  # fmt: skip
        self.how, self.source, self.goals, self.judge = how, source, goals, judge
        self.work, self.shown, self.journal = journal.folder, shown, journal
        self.known: Measured | None = None
        self._said = False  # what healing says, of the first candidate
        self.kept: dict[float, Made] = {}

    def measured(self, keep: float) -> Candidate:
        """One with this share of its targets, on the rows that choose; not made again where the journal knows it."""
        if (before := self.journal.known(keep)) is not None:
            return before
        started, made = time.perf_counter(), self.make(keep)
        small = made.model(self.source.trusted)
        latency, lost, ms = self.goals.latency, None, None
        if latency is not None:
            precision = made.files[0]["precision"] if made.files else None
            ms = milliseconds(small, made.file, precision, latency)
        if self.judge is not None and (latency is None or (ms is not None and ms <= latency.ms)):
            lost = self.judge.lost(small, made.file)
        size = made.files[0]["bytes"] if made.files else sum(f.stat().st_size for f in small.stored.files)
        found = Candidate(keep, size, lost, ms, round(time.perf_counter() - started, 2))
        self._keep(made, found)
        self.journal.add(found)
        return found

    def good(self, one: Candidate) -> bool:
        """Whether a candidate meets what the search looks for: the time where that is a goal, else what is lost."""
        if self.goals.latency is not None:
            return one.ms is not None and one.ms <= self.goals.latency.ms
        return self.judge is not None and one.loss is not None and one.loss <= self.judge.allowed

    def make(self, keep: float) -> Made:
        """Its directory, and what it is. What a killed search left of it goes first."""
        folder = self.work / str(keep)
        for left in (folder, folder.with_name(f"{keep}-{HEALING}")):
            shutil.rmtree(left, ignore_errors=True)
        how = replace(self.how, recipe=self.how.recipe.but(keep=keep))
        planned = how.planned(self.source, known=self.known)
        self.known = planned.measured
        place = Output(folder, shown=self.shown)
        if self.goals.healing is None:
            return Made.of(place, *how.written(self.source, planned, place))
        with said_before() if self._said else nullcontext():
            self._said = True
            return self._healed(how, planned, place, self.goals.healing)

    def _healed(self, how: Conversion, planned: Planned, place: Output, healing: Healing) -> Made:
        """The same as it is without healing, then trained, both in a directory of their own with the names that the
        result is to tell."""
        name = self.source.provenance()["model"].split("/")[-1]
        room = place.beside(HEALING)
        before, after = Output(room / "before" / name, shown=self.shown), room / self.shown.name
        before.path.parent.mkdir(parents=True)
        planned, _, _ = replace(how, shipment=None).written(self.source, planned, before)
        options: dict[str, Any] = {"text_column": healing.columns} if healing.named else {}
        from .finetune import finetune  # what trains is not imported before it is asked for

        told = finetune(
            str(before.path), after, teacher=self.source.reference, train=healing.write(self.work / HEAL),
            max_steps=healing.steps, seed=how.recipe.seed, save_steps=0, device=str(how.device),
            trust_remote_code=self.source.trusted, **options, **options_for(self.source),
        )  # fmt: skip
        files = _exported(after, how.shipment, self.source.trusted) if how.shipment else []
        after.rename(place.path)
        shutil.rmtree(room)
        healed = {name: told[name] for name in ("steps", "best_step", "before", "metrics", "seconds")}
        return Made(place, replace(planned, loaded=None), None, files, healed)

    def _keep(self, made: Made, found: Candidate) -> None:
        """One that is not good, or worse than another, is never the answer: its files go."""
        if not self.good(found):
            shutil.rmtree(made.place.path)
            return
        for other in self.kept.values():
            shutil.rmtree(other.place.path)
        self.kept = {found.keep: made}


def lowest(source: Model, recipe: Recipe) -> float:
    """The smallest share to try that the structure can be made of."""
    keep = SMALLEST
    while True:
        try:
            check_feasible(source, recipe.but(keep=round(keep, 4)))
            return keep
        except FactcliError:
            keep *= WIDER
            if keep >= LARGEST:
                raise


def _exported(folder: Path, shipment: Shipment, trusted: bool) -> list[dict[str, Any]]:
    """The files of a shipment, written into a whole directory."""
    how: Mapping[str, Any] = {k: v for k, v in vars(shipment.how).items() if v is not None}
    texts = {k: v for k, v in vars(shipment.texts).items() if k in ("text_column", "max_length", "data_revision") and v}
    if shipment.how.calibration is None:
        texts = {}
    from .export import export

    files: list[dict[str, Any]] = export(str(folder), trust_remote_code=trusted, **how, **texts)["files"]
    return files
