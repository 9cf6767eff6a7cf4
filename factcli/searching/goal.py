"""What is asked of a search, and which options say so."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..recipe.commands import Asked
from ..recipe.factorizing import Recipe
from ..recipe.fields import spelled
from ..recipe.file import read_recipe
from ..recipe.registry import criteria
from ..recipe.rules import without_effect
from ..recipe.running import DataDir, Goal, Measured
from ..recipe.values import BUDGETS, TASKS

PLACEHOLDER = 0.5  # a budget, until the search knows one


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


def read_goal(asked: Asked) -> tuple[Target | None, Asked]:
    """The goal, None where a budget is given, and what is asked besides: with a budget to begin with, and without the
    options that are of the goal's rows alone. Raises UsageError for options that do not go together."""
    goal, given = asked.of(Goal), asked.flags(Goal)
    if goal.max_loss is None:
        if given:
            raise without_effect(spelled(next(iter(given))), "without --max-loss", "give --max-loss")
        return None, asked
    values = dict(asked.values)
    in_file = read_recipe(values.get("config"))
    if budget := next((name for name in BUDGETS if name in values), None):
        raise UsageError(f"--max-loss looks for the budget: leave out {spelled(budget)}.")
    if values.get("dry_run"):
        raise without_effect("--dry-run", "with --max-loss, which measures what it makes", "give --keep")
    if (goal.task is None) == (goal.validation is None):
        raise UsageError("--max-loss needs rows with labels: give either --task, for GLUE, or --validation FILE.")
    if goal.test is not None and goal.validation is None:
        raise without_effect("--test", "without --validation", "give both")
    columns = {k: values[k] for k in ("text_column", "label_column") if k in values and goal.validation is not None}
    data_dir = asked.of(DataDir).data_dir if goal.task is not None else None
    how = Measured(
        task=goal.task, validation=goal.validation, data_dir=data_dir, label_names=goal.label_names, **columns
    )  # fmt: skip
    criterion = values.get("criterion") or in_file.get("criterion") or Recipe().criterion
    reads = criteria[criterion].reads_data()
    if reads and goal.task is not None and "calibration" not in values and "calibration" not in in_file:
        values["calibration"] = goal.task
    calibration = values.get("calibration") or in_file.get("calibration")
    if goal.validation is not None:
        if not reads or calibration in TASKS:
            values.pop("text_column", None)
        if not reads or values.get("fisher") != "empirical":
            values.pop("label_column", None)
    if not reads or calibration not in TASKS:
        values.pop("data_dir", None)
    values["keep"] = PLACEHOLDER
    amount = str(goal.max_loss)
    target = Target(float(amount.rstrip("%")), amount.endswith("%"), how, goal.test)
    return target, replace(asked, values={k: v for k, v in values.items() if k not in given})
