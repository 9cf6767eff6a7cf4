"""A job, run: once, or for several seeds."""

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..checkpoint import write_json
from ..errors import FactcliError
from ..metrics import is_failed, majority_accuracy
from ..prediction import labels_of
from ..provenance import versions
from .checkpoints import folder_of, open_folder
from .events import Event, Watch
from .export import RESULTS, export
from .job import Job
from .run import Options, is_main, processes, train, validation_metrics
from .search import search_rate
from .seeds import summarize


@dataclass
class Runner:
    """A job and how to run it."""

    job: Job
    options: Options
    watch: Watch
    overwrite: bool
    rate: float | None = None
    searched: list[dict[str, Any]] | None = None

    def one(self, output: Path, seed: int, tolerant: bool = False) -> dict[str, Any]:
        """Train with one seed and export; a training that diverges raises, or (`tolerant`) counts as failed."""
        started = time.perf_counter()
        checkpoints = folder_of(output)
        if is_main():
            resume = self.options.resume and (checkpoints.exists() or not tolerant)
            open_folder(checkpoints, identity(self.job, seed), resume, self.overwrite)
        rate = self._learning_rate(checkpoints, seed)
        options = replace(self.options, checkpoints=checkpoints)
        outcome = train(self.job, seed, rate, options, self.watch)
        result: dict[str, Any] = {
            "model": self.job.source.name,
            "output": str(output),
            "task": self.job.task.name,
            "schedule": self.job.settings.schedule or "direct",
            "seed": seed,
            "learning_rate": rate,
            "steps": outcome.steps,
            "metrics": {},
            "majority": majority_accuracy(self.job.task, labels_of(self.job.validation), self.job.train_labels),
            "failed_run": True,
            "seconds": 0.0,
            "search": self.searched or [],
        }
        if outcome.diverged:
            self._say("failed", "failed run: the loss is not finite")
            if not tolerant:
                raise FactcliError(
                    f"The training diverged at learning rate {rate:g}: take a lower one, or --learning-rate search."
                )
        elif is_main():

            def score(written: PreTrainedModel) -> None:
                result["metrics"] = validation_metrics(self.job, written)
                result["failed_run"] = is_failed(self.job.task, result["metrics"], result["majority"])
                if result["failed_run"]:
                    self._say("failed", _advice(self.job, result))
                result["seconds"] = round(time.perf_counter() - started, 2)

            export(self.job, outcome.loaded, output, self.overwrite, result, outcome.losses, score)
        if is_main():
            result["seconds"] = round(time.perf_counter() - started, 2)
            shutil.rmtree(checkpoints, ignore_errors=True)
        return _shared(result)

    def many(self, folder: Path, seeds: list[int]) -> dict[str, Any]:
        """A run for each seed; those that stand already are kept when resuming."""
        if is_main():
            if folder.exists() and not self.options.resume:
                shutil.rmtree(folder)  # check_output has seen that --overwrite is given
            folder.mkdir(exist_ok=True)
        runs = []
        for number, seed in enumerate(seeds, 1):
            output, failed = folder / f"seed-{seed}", folder / f"seed-{seed}.json"
            done = next((f for f in (output / RESULTS, failed) if f.is_file()), None)
            self._say("run", f"seed {seed}, run {number} of {len(seeds)}" + (", done before" if done else ""))
            if self.options.resume and done is not None:
                runs.append({k: v for k, v in json.loads(done.read_text("utf-8")).items() if k != "losses"})
                continue
            runs.append(self.one(output, seed, tolerant=True))
            if not runs[-1]["metrics"] and is_main():
                write_json(failed, runs[-1])  # diverged: there is no model to keep
        result = {
            "model": self.job.source.name, "output": str(folder), "task": self.job.task.name, "runs": runs,
            "summary": summarize(runs),
        }  # fmt: skip
        if is_main():
            write_json(folder / RESULTS, result)
        return result

    def _learning_rate(self, checkpoints: Path, seed: int) -> float:
        """The rate that was given, or found: once for all seeds, and kept for a run that is resumed."""
        given = self.job.settings.learning_rate
        if not isinstance(given, str):
            return given
        kept = checkpoints / "search.json"
        if self.rate is None and kept.is_file() and self.options.resume:
            self.searched = json.loads(kept.read_text(encoding="utf-8"))
            assert self.searched is not None
            finite = [entry for entry in self.searched if entry["loss"] is not None]
            self.rate = float(min(finite, key=lambda entry: entry["loss"])["learning_rate"])
        if self.rate is None:
            self.rate, self.searched = search_rate(self.job, seed, self.options, self.watch)
            self._say("search", f"learning rate {self.rate:g} has the smallest training loss")
        if is_main():
            write_json(kept, self.searched)  # type: ignore[arg-type]
        return self.rate

    def _say(self, kind: str, text: str) -> None:
        if is_main():
            self.watch(Event(kind, text))


def identity(job: Job, seed: int) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    return {
        "source": job.source.provenance(),
        "versions": versions(),
        "task": [job.task.name, len(job.train), *job.task.labels],
        "recipe": job.recipe.to_dict() if job.recipe else None,
        "training": job.settings.to_dict() | {"seed": seed},
        "processes": processes(),
    }


def _advice(job: Job, result: dict[str, Any]) -> str:
    score = result["metrics"].get("accuracy")
    if score is None:
        return "failed run: predictions and labels do not correlate; what helps: another --learning-rate"
    helps = {"direct": "--schedule staged, ", "staged": "more --stage-steps, "}
    staging = "" if job.source.factorized else helps.get(job.settings.schedule or "", "")
    return (
        f"failed run: accuracy {score:.4f} is no better than always answering the commonest label "
        f"({result['majority']:.4f}); what helps: {staging}another --learning-rate (or search), more data or epochs"
    )


def _shared(result: dict[str, Any]) -> dict[str, Any]:
    """The main process's result, in every process."""
    if processes() == 1:
        return result
    box = [result]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
