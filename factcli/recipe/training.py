"""How a model is trained: what the section `training` of a recipe file holds.

Defaults are the seed paper's (Gupta et al. 2024, section 4.1) where it gives them.
"""

from pathlib import Path
from typing import Any, ClassVar

from ..errors import UsageError
from .effects import WEIGHTS, of_training
from .fields import Options, declared, option
from .reading import load_file, read_keys, resolve
from .registry import schedules
from .rules import Values, idle
from .values import SEED, TASKS

PRECISIONS = ("float32", "bfloat16")
SEARCH = "search"
RATES = (1e-4, 5e-4, 1e-5, 5e-5, 1e-6, 5e-6)  # of the seed paper's search, section 4.1
# The rates where a teacher alone is learnt from, if none is given: its vectors or hidden states, and the answers of its
# head, which 5e-4 ruins and 5e-5 brings back slowly (SST-2, 800 steps).
ALONE, ALONE_WITH_HEAD = 5e-4, 1e-4
FRACTION = "a fraction from 0 to below 1"


def rate(value: Any) -> Any:
    """A learning rate as a number, or SEARCH. Raises ValueError for any other text."""
    if not isinstance(value, str) or value == SEARCH or not value.strip():
        return value
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(f"is neither a number nor {SEARCH!r}") from error


class Staging(Options):
    """How training meets the factors; the options of schedules are beside it."""

    panel: ClassVar[str] = "Stages"

    schedule: str | None = option(None, "How training meets the factors.", "what suits the structure", known=schedules)


class Steps(Options):
    """The optimizer and its steps."""

    panel: ClassVar[str] = "Training"
    rivals: ClassVar[tuple[str, ...]] = ("epochs", "max_steps")

    batch_size: int = option(32, "The whole batch, over all processes.", ge=1)
    epochs: float = option(5.0, "After the stages.", ge=0.001)
    max_steps: int | None = option(None, "After the stages, instead of --epochs.", ge=1)
    learning_rate: float | str = option(
        5e-5,
        f"A rate, or '{SEARCH}': tries six, an epoch each. Not given, without labels {ALONE_WITH_HEAD:g}, or without a "
        f"head {ALONE:g}.",
        read=rate, gt=0, lt=1, called="between 0 and 1",
    )  # fmt: skip
    warmup_ratio: float = option(0.06, "Of all steps.", ge=0, lt=1, called=FRACTION)
    weight_decay: float = option(0.01, "Of AdamW.", ge=0)
    max_length: int | None = option(None, "Tokens of an example.", "128, or as many as the model takes", ge=2)
    precision: str | None = option(
        None, "Of the products in training (autocast).", "bfloat16 on a GPU that has it, else float32", known=PRECISIONS
    )
    text_to_text: bool = option(False, "Answer in words (T5).")
    new_head: bool = option(False, "Replace the head that the model has.")
    seed: int = SEED


class Prune(Options):
    """Zeroing entries while training."""

    panel: ClassVar[str] = "Pruning"

    prune: str | None = option(
        None, "Zero entries while training; with a budget, LPAF.", known=("movement", "taylor", "magnitude")
    )
    density: float | None = option(
        None, "Share of the targets' entries that stays.", gt=0, le=1, called="above 0 and at most 1"
    )
    prune_scope: str = option("matrix", "Entries are ranked in each matrix, or in all.", known=("matrix", "global"))
    prune_warmup: float = option(0.1, "Share of the steps before pruning begins.", only="file")
    prune_cooldown: float = option(0.3, "Share of the steps after it has ended.", only="file")
    prune_share: float = option(
        0.25, "Share of the epochs or steps that come before the factorization.", only="file", gt=0, lt=1,
        called="a fraction between 0 and 1",
    )  # fmt: skip
    prune_include: tuple[str, ...] = option((), "Only these targets are pruned.", only="file", words=True)
    prune_exclude: tuple[str, ...] = option((), "These targets are not pruned.", only="file", words=True)


class Distil(Options):
    """Learning from a teacher as well."""

    panel: ClassVar[str] = "Distillation"

    teacher: str | None = option(
        None, "A model trained on the task to learn from too; alone where there are no labels.", place=True
    )
    temperature: float = option(2.0, "Of its logits.", gt=0, called="above 0")
    label_weight: float = option(1.0, "Of the labels' loss.", ge=0, called="above 0")
    logit_weight: float = option(1.0, "Of its logits, or of its vectors.", ge=0, called="above 0")
    hidden_weight: float = option(1.0, "Of its hidden states.", ge=0, called="above 0")
    attention_weight: float = option(0.0, "Of its attention.", ge=0, called="above 0")


class Data(Options):
    """What is learnt."""

    panel: ClassVar[str] = "Data"

    task: str | None = option(None, "A task of GLUE.", known=TASKS)
    data_revision: str | None = option(None, "Commit, tag or branch of data on the Hub.", "the newest")
    text_column: tuple[str, ...] = option((), "Column of texts, or lists of words; twice for pairs.", words=True)
    label_column: str = option("label", "Column of labels, or lists of tags.", words=True)
    label_names: tuple[str, ...] = option(
        (), "The labels in the order of the model's outputs: no,yes.", listed=True, words=True
    )
    limit: int | None = option(None, "Only the first training examples.", ge=1)


class Settings(Data, Distil, Prune, Steps, Staging):
    """How to train. `schedule` None: by structure, or nothing to factorize."""

    registries = (schedules,)

    def check(self) -> None:
        if min(self.prune_warmup, self.prune_cooldown) < 0 or self.prune_warmup + self.prune_cooldown >= 1:
            raise UsageError("prune_warmup and prune_cooldown are shares of the steps, below 1 together.")
        if (self.prune is None) != (self.density is None):
            raise UsageError("--prune and --density belong together: give both.")
        if self.teacher is not None and not any(getattr(self, name) for name in WEIGHTS):
            raise UsageError(
                "Every weight of the loss is 0, so that nothing would be learnt: leave one of them above it."
            )

    def to_dict(self, **known: bool) -> dict[str, Any]:
        """What matters to a run of which this is `known` (see of_training). Directories are named without those above
        them, which belong to one machine."""
        values = dict(vars(self))
        useless = idle(of_training(), values | known)
        for name in (name for name, one in declared(type(self)).items() if one.about.place):
            if values[name] is not None and Path(values[name]).expanduser().is_dir():
                values[name] = Path(values[name]).expanduser().absolute().name
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in useless}
        return {k: v for k, v in values.items() if v is not None and v is not False and v != []}


def read_settings(config: str | Path | None) -> dict[str, Any]:
    """The section `training` of a recipe file. Raises FactcliError for a file that cannot be read, UsageError for what
    is wrong in it."""
    if config is None:
        return {}
    values = load_file(config).get("training") or {}
    if not isinstance(values, dict):
        raise UsageError(f"The recipe {config} has a section 'training' that is not a mapping such as 'epochs: 3'.")
    return read_keys(Settings, values, f"The section 'training' of the recipe {config}")


def make_settings(config: str | Path | None, flags: Values) -> Settings:
    """Flags (None: not given) over the section `training` of the recipe file `config` over defaults."""
    return resolve(Settings, flags, read_settings(config))
