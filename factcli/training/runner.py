"""A job, run: once, or for several seeds."""

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..card import story
from ..data.encoding import labels_of
from ..errors import FactcliError
from ..files.atomic import write_json
from ..files.outputs import Output
from ..scores.metrics import is_failed, majority_score
from .checkpoints import RUN, SEARCHED, SEEDS, close_folder, folder_of, forget, open_folder
from .events import Event, Watch
from .export import RESULTS, export
from .identity import identity
from .job import Job
from .run import Options, Outcome, is_main, measured, processes, train
from .schedules import schedule_that, schedules
from .search import search_rate
from .seeds import summarize


@dataclass(frozen=True)
class Before:
    """What came before the run that ends a longer work, for what is said of it: the job of the whole, a sentence a
    phase, steps and seconds in all, and what the result says of the first phase."""

    job: Job
    sentences: tuple[str, ...]
    steps: int
    seconds: float
    pruned: dict[str, Any]


@dataclass
class Runner:
    """A job and how to run it."""

    job: Job
    options: Options
    watch: Watch
    before: Before | None = None
    rate: float | None = None
    searched: list[dict[str, Any]] | None = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the runs of all seeds have in common."""
        return identity(self.job)

    def one(self, output: Output, seed: int, tolerant: bool = False) -> dict[str, Any]:
        """Train with one seed and export; a training that diverges raises, or (`tolerant`) counts as failed. What fails
        leaves its checkpoints, if there are any, and nothing else."""
        checkpoints = folder_of(output.path)
        if self.before is not None:  # the folder is that of the whole work, which opened it
            return self._run(output, checkpoints, seed, tolerant)
        if is_main():
            resume = self.options.how.resume and ((checkpoints / RUN).is_file() or not tolerant)
            open_folder(checkpoints, self.identity | {"the seed": seed}, resume, output.overwrite)
        try:
            result = self._run(output, checkpoints, seed, tolerant)
        except BaseException:
            if is_main():
                forget(checkpoints)
            raise
        if is_main():
            close_folder(checkpoints)
        return _shared(result)

    def _run(self, output: Output, checkpoints: Path, seed: int, tolerant: bool) -> dict[str, Any]:
        started = time.perf_counter()
        options = replace(self.options, checkpoints=checkpoints)
        rate = self._learning_rate(options, seed)
        outcome = train(self.job, seed, rate, options, self.watch)
        earlier = self.before
        result: dict[str, Any] = {
            "model": (earlier.job if earlier else self.job).source.name,
            "output": str(output.shown),
            "task": self.job.task.name,
            "schedule": self.job.settings.schedule or schedule_that(),
            "seed": seed,
            "learning_rate": rate,
            "steps": outcome.steps,
            "metrics": {},
            "majority": self._majority,
            "failed_run": True,
            "seconds": 0.0,
            "search": self.searched or [],
        }
        if outcome.diverged:
            self._say("failed", "failed run: the loss is not finite")
            if not tolerant:
                if is_main():
                    close_folder(checkpoints)  # to continue from them would diverge again
                raise FactcliError(
                    f"The training diverged at learning rate {rate:g}: take a lower one, or --learning-rate search."
                )
        elif is_main():
            whole = self.job if earlier is None else earlier.job
            settings = self.job.settings.to_dict(**self.job.known)
            sentences = [*(earlier.sentences if earlier else ()), story.trained(settings, result)]
            if outcome.best is not None:
                result |= {"before": outcome.best.before, "best_step": outcome.best.step}
            if earlier is not None:
                result |= {"steps": earlier.steps + outcome.steps, "pruned": earlier.pruned}

            def score(written: PreTrainedModel) -> None:
                result["metrics"] = measured(self.job, written, options)
                result["failed_run"] = self._failed(result, outcome)
                if result["failed_run"]:
                    self._say("failed", _advice(self.job, result))
                result["seconds"] = self._seconds(started)

            export(self.job, outcome.loaded, output, result, outcome.losses, whole, sentences, score)
        if is_main():
            result["seconds"] = self._seconds(started)
        return result

    @property
    def _majority(self) -> float | None:
        if self.job.purpose is not None:
            return None
        return majority_score(self.job.task, labels_of(self.job.validation), self.job.train_labels)

    def _failed(self, result: dict[str, Any], outcome: Outcome) -> bool:
        """By the paper's rule; without labels a run failed of which the state before it is what is kept."""
        if outcome.best is not None:
            return outcome.best.step == 0
        return is_failed(self.job.task, result["metrics"], result["majority"])

    def _seconds(self, started: float) -> float:
        return round(time.perf_counter() - started + (self.before.seconds if self.before else 0), 2)

    def many(self, output: Output, seeds: list[int]) -> dict[str, Any]:
        """A run for each seed, all beside `output` until the last is done; when resuming, those that stand are kept."""
        folder = output.beside(SEEDS)
        if is_main():
            open_folder(folder, self.identity, self.options.how.resume, output.overwrite)
        try:
            runs = self._each(output, folder, seeds)
        except BaseException:
            if is_main():
                forget(folder)
            raise
        result = {
            "model": self.job.source.name, "output": str(output.shown), "task": self.job.task.name, "runs": runs,
            "summary": summarize(runs),
        }  # fmt: skip
        if is_main():
            write_json(folder / RESULTS, result)
            output.take(folder, at_once=False)
        return result

    def _each(self, output: Output, folder: Path, seeds: list[int]) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []
        for number, seed in enumerate(seeds, 1):
            place, failed = folder / f"seed-{seed}", folder / f"seed-{seed}.json"
            done = next((f for f in (place / RESULTS, failed) if f.is_file()), None)
            self._say("run", f"seed {seed}, run {number} of {len(seeds)}" + (", done before" if done else ""))
            if self.options.how.resume and done is not None:
                values = json.loads(done.read_text("utf-8"))
                run = {k: v for k, v in values.items() if k not in ("validation", "losses")}
                runs.append(run | {"model": self.job.source.name, "output": str(output.shown / place.name)})
                continue
            runs.append(self.one(Output(place, shown=output.shown / place.name), seed, tolerant=True))
            if not runs[-1]["metrics"] and is_main():
                write_json(failed, runs[-1])  # diverged: there is no model to keep
        return runs

    def _learning_rate(self, options: Options, seed: int) -> float:
        """The rate that was given, or found: once for all seeds, and kept for a run that is resumed."""
        given = self.job.settings.learning_rate
        if not isinstance(given, str):
            return given
        assert options.checkpoints is not None
        kept = options.checkpoints / SEARCHED
        if self.rate is None and kept.is_file() and self.options.how.resume:
            self.searched = json.loads(kept.read_text(encoding="utf-8"))
            assert self.searched is not None
            finite = [entry for entry in self.searched if entry["loss"] is not None]
            self.rate = float(min(finite, key=lambda entry: entry["loss"])["learning_rate"])
        if self.rate is None:
            self.rate, self.searched = search_rate(self.job, seed, options, self.watch)
            self._say("search", f"learning rate {self.rate:g} has the smallest training loss")
        if is_main():
            write_json(kept, self.searched)
        return self.rate

    def _say(self, kind: str, text: str) -> None:
        if is_main():
            self.watch(Event(kind, text))


def _advice(job: Job, result: dict[str, Any]) -> str:
    if job.purpose is not None:
        return (
            "failed run: nothing that was learnt is nearer to the teacher on the texts held out, so the model is as it "
            "was; what helps: a lower --learning-rate, more texts"
        )
    name, always = ("accuracy", "the commonest label")
    if job.task.multi_label:
        name, always = ("micro_f1", "each label's commoner value")
    score = result["metrics"].get(name)
    if score is None:
        return "failed run: predictions and labels do not correlate; what helps: another --learning-rate"
    if score > result["majority"]:  # of a tagger
        return "failed run: no span is right (f1 0); what helps: another --learning-rate, more data or epochs"
    schedule = None if job.source.factorized else job.settings.schedule
    staging = schedules[schedule].helps if schedule else ""
    return (
        f"failed run: {name} {score:.4f} is no better than always answering {always} "
        f"({result['majority']:.4f}); what helps: {staging}another --learning-rate (or search), more data or epochs"
    )


def _shared(result: dict[str, Any]) -> dict[str, Any]:
    """The main process's result, in every process."""
    if processes() == 1:
        return result
    box = [result]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
