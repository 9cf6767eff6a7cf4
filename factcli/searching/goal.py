"""What is asked of a search, and which options say so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..notes import note
from ..recipe.commands import Asked
from ..recipe.factorizing import Recipe
from ..recipe.fields import spelled
from ..recipe.file import read_recipe
from ..recipe.registry import criteria
from ..recipe.rules import Rule, refuse_idle, unless, without_effect
from ..recipe.running import DataDir, Goal, Measured
from ..recipe.values import BEST, BUDGETS, TASKS
from .healing import Healing, read_healing

PLACEHOLDER = 0.5  # a budget, until the search knows one
WANTED = ("max_loss", "min_similarity", "max_ms")
_NEEDS = " or ".join(map(spelled, WANTED))
RULES = (
    Rule(("task", "validation", "test", "label_names"), lambda v: unless(v["max_loss"] is not None,
         "without --max-loss, which alone needs labels"), "give --max-loss"),
    Rule(("test",), lambda v: unless(v["validation"] is not None, "without --validation"), "give both"),
    Rule(("batch_size", "sequence_length"), lambda v: unless(v["max_ms"] is not None, "without --max-ms"),
         "give --max-ms"),
    Rule(("heal",), lambda v: unless(v["max_loss"] is not None or v["min_similarity"] is not None,
         "with --max-ms alone, which no training changes"), "train what it finds with 'factcli finetune --teacher'"),
    Rule(("heal_steps",), lambda v: unless(v["heal"] is not None, "without --heal"), "give --heal"),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """At most `amount` points of 100 may be lost, or, where `relative`, percent of what the dense model scores. It is
    measured as `how` says; `test` is a file whose rows report, None where those of `how` are split in two."""

    amount: float
    relative: bool
    how: Measured
    test: str | Path | None

    def points(self, dense: float) -> float:
        """How many points of 100 may be lost by a model that scores `dense`, a fraction of one."""
        return self.amount * dense if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.amount:g}{'%' if self.relative else ' points'}"

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"max_loss": self.amount, "unit": "percent" if self.relative else "points"}


@dataclass(frozen=True)
class Latency:
    """At most `ms` milliseconds for `batch_size` texts of `sequence_length` tokens."""

    ms: float
    batch_size: int
    sequence_length: int

    def __str__(self) -> str:
        return f"{self.ms:g} ms for {self.batch_size} x {self.sequence_length} tokens"

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"max_ms": self.ms, "batch_size": self.batch_size, "sequence_length": self.sequence_length}


@dataclass(frozen=True)
class Goals:
    """What must hold: a `loss` or a `similarity` (to the dense model, a fraction), a `latency`, or one of the first two
    and the third. No candidate is begun after `seconds`."""

    loss: Target | None
    similarity: float | None
    latency: Latency | None
    healing: Healing | None
    seconds: float | None

    @property
    def first(self) -> str:
        """The one that counts first, as the name of a directory has it."""
        name, amount = next(iter(self.to_json().items()))
        return f"{name}-{amount:g}".replace("_", "-")

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            **(self.loss.to_json() if self.loss else {}),
            **({"min_similarity": self.similarity} if self.similarity is not None else {}),
            **(self.latency.to_json() if self.latency else {}),
        }


def read_goal(asked: Asked) -> tuple[Goals | None, Asked]:
    """The goals, None where a budget is given, and what is asked besides: with a budget to begin with, and without the
    options that are of the goals alone. Raises UsageError for options that do not go together."""
    goal, given = asked.of(Goal), asked.flags(Goal)
    wanted = [name for name in WANTED if getattr(goal, name) is not None]
    if not wanted:
        if given:
            raise without_effect(spelled(next(iter(given))), "without a goal", f"give {_NEEDS}")
        return None, asked
    values = dict(asked.values)
    in_file = read_recipe(values.get("config"))
    _refuse(goal, wanted, values, in_file)
    _refuse_device(goal, values.get("device"))
    refuse_idle(RULES, vars(goal), given)
    _choose_criterion(goal, values, in_file)
    columns = {k: values[k] for k in ("text_column", "label_column") if k in values and goal.validation is not None}
    data_dir = asked.of(DataDir).data_dir if goal.task is not None else None
    how = Measured(
        task=goal.task, validation=goal.validation, data_dir=data_dir, label_names=goal.label_names, **columns
    )  # fmt: skip
    calibration = values.get("calibration") or in_file.get("calibration")
    _refuse_shared(goal, calibration, values.get("vocabulary") or in_file.get("vocabulary"))
    goals = Goals(
        None if goal.max_loss is None else _target(goal.max_loss, how, goal.test),
        goal.min_similarity,
        None if goal.max_ms is None else Latency(goal.max_ms, goal.batch_size, goal.sequence_length),
        None if goal.heal is None else read_healing(goal.heal, goal.heal_steps, values.get("text_column") or ()),
        goal.budget_seconds,
    )  # fmt: skip
    _leave_out(goal, values, in_file, calibration)
    values["keep"] = PLACEHOLDER
    return goals, replace(asked, values={k: v for k, v in values.items() if k not in given})


def _target(said: str, how: Measured, test: str | Path | None) -> Target:
    return Target(float(said.rstrip("%")), said.endswith("%"), how, test)


def _refuse(goal: Goal, wanted: list[str], values: Mapping[str, Any], in_file: Mapping[str, Any]) -> None:
    """Raises UsageError for what contradicts itself."""
    first = spelled(wanted[0])
    if goal.max_loss is not None and goal.min_similarity is not None:
        raise UsageError("Give either --max-loss, which needs labels, or --min-similarity, which needs none.")
    if budget := next((name for name in BUDGETS if name in values), None):
        raise UsageError(f"{first} looks for the budget: leave out {spelled(budget)}.")
    if values.get("dry_run"):
        raise without_effect("--dry-run", f"with {first}, which measures what it makes", "give --keep")
    if goal.max_loss is not None and (goal.task is None) == (goal.validation is None):
        raise UsageError("--max-loss needs rows with labels: give either --task, for GLUE, or --validation FILE.")
    alone = "--heal" if goal.heal is not None else "--min-similarity" if goal.min_similarity is not None else None
    if alone is not None and (values.get("vocabulary") or in_file.get("vocabulary")) is not None:
        raise UsageError(
            f"{alone} does not go with --vocabulary: make the vocabulary smaller first, then convert that."
        )


def _refuse_device(goal: Goal, device: str | None) -> None:
    """Raises UsageError where passes would be timed elsewhere than they are."""
    if goal.max_ms is not None and device is not None and device.partition(":")[0] == "cuda":
        raise UsageError(f"--max-ms times passes on the CPU: leave out --device {device}.")


def _choose_criterion(goal: Goal, values: dict[str, Any], in_file: Mapping[str, Any]) -> None:
    """Where none is asked for, and there are texts, the one that loses least."""
    there = values.get("calibration") or in_file.get("calibration") or goal.task
    if there is not None and "criterion" not in values | dict(in_file):
        values |= {name: values.get(name, in_file.get(name, best)) for name, best in BEST.items()}
        note(f"--criterion {values['criterion']} --allocation {values['allocation']}, as there are texts.")
    criterion = values.get("criterion") or in_file.get("criterion") or Recipe().criterion
    if goal.task is not None and there == goal.task and criteria[criterion].reads_data():
        values.setdefault("calibration", goal.task)
    if goal.min_similarity is not None and (there is None or not criteria[criterion].reads_data()):
        raise UsageError(
            "--min-similarity compares on texts that were not calibrated on: give --calibration, and a --criterion "
            "that looks at it (kfac)."
        )


def _refuse_shared(goal: Goal, calibration: Any, vocabulary: Any) -> None:
    """Raises UsageError where the rows that choose or report would be seen before."""
    files = {
        "--validation": goal.validation, "--test": goal.test, "--heal": goal.heal,
        "--calibration": None if calibration in TASKS else calibration,
        "--vocabulary": None if vocabulary in TASKS else vocabulary,
    }  # fmt: skip
    rows = ["--validation", "--test"] if goal.max_loss is not None else ["--calibration"]
    for name in rows:
        for other, file in files.items():
            if other != name and _same(file, files[name]):
                raise UsageError(
                    f"{other} and {name} are the same file, whose rows must be new to the model: give {other} another."
                )


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return False
    one, two = (Path(str(name)).expanduser() for name in (a, b))
    return one.resolve() == two.resolve() and one.exists()


def _leave_out(goal: Goal, values: dict[str, Any], in_file: Mapping[str, Any], calibration: Any) -> None:
    """What is of the goal's rows, and has no effect on the conversion."""
    criterion = values.get("criterion") or in_file.get("criterion") or Recipe().criterion
    reads = criteria[criterion].reads_data()
    if goal.validation is not None or goal.heal is not None:
        if not reads or calibration in TASKS:
            values.pop("text_column", None)
        if goal.validation is not None and (not reads or values.get("fisher") != "empirical"):
            values.pop("label_column", None)
    if not reads or calibration not in TASKS:
        values.pop("data_dir", None)
