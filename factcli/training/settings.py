"""How to train: what the recipe's section `training` holds."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..data.tasks import GLUE
from ..errors import UsageError
from ..options import Rule, Values, check_seed, idle, unless
from ..recipe.old_recipe import read_training
from .pruning import Pruning
from .schedules import StageOptions

RATES = (1e-4, 5e-4, 1e-5, 5e-5, 1e-6, 5e-6)  # of the seed paper's search, section 4.1
SEARCH = "search"
LENGTHS = ("epochs", "max_steps")
MOST_SEEDS = 1000
DISTILLING = ("temperature", "label_weight", "logit_weight", "hidden_weight", "attention_weight")
LISTS = ("prune_include", "prune_exclude", "text_column", "label_names")
PRECISIONS = ("float32", "bfloat16")


def _schedule(v: Values) -> str:
    return f"with --schedule {v['schedule']}" if v["schedule"] else "without a budget"


# Of settings whose schedule is resolved. What is no setting, but known of a run: data_dir, calibration, regression.
RULES = (
    Rule(
        ("order", "stage_steps", "stages"),
        lambda v: unless(v["schedule"] == "staged", _schedule(v)),
        "take --schedule staged",
        ("model", "schedule", "method", "prune"),
    ),
    Rule(
        ("order", "stage_steps"),
        lambda v: unless(v["stages"] != 1, "with --stages 1"),
        "give more stages",
        ("stages",),
    ),
    Rule(
        ("mixed_with", "mixed_start", "mixed_until", "consistency"),
        lambda v: unless(v["schedule"] == "mixed-rank", _schedule(v)),
        "take --schedule mixed-rank",
        ("model", "schedule"),
    ),
    Rule(
        ("prune_scope", "prune_warmup", "prune_cooldown", "prune_include", "prune_exclude"),
        lambda v: unless(v["prune"] is not None, "without --prune"),
        "give --prune and --density",
    ),
    Rule(
        ("prune_share",),
        lambda v: unless(v["prune"] is not None and v["schedule"] == "mixed-rank", "without --prune and a budget"),
        "give both",
    ),
    Rule(DISTILLING, lambda v: unless(v["teacher"] is not None, "without --teacher"), "give --teacher"),
    Rule(
        ("temperature",),
        lambda v: unless(v["logit_weight"] != 0, "with --logit-weight 0"),
        by=("logit_weight",),
    ),
    Rule(("temperature",), lambda v: unless(not v.get("regression"), "on numbers, which are not softened")),
    Rule(("label_names",), lambda v: unless(not v.get("regression"), "on numbers, which have no names")),
    Rule(("epochs",), lambda v: unless(v["max_steps"] is None, "with --max-steps"), by=("max_steps",)),
    Rule(
        ("text_column", "label_column"),
        lambda v: unless(v["task"] is None, f"with --task {v['task']}, whose columns are known"),
        "give --train and --validation",
        ("task",),
    ),
    Rule(
        ("data_revision",),
        lambda v: unless(v["task"] is not None, "with files of your own"),
        by=("train", "validation"),
    ),
    Rule(
        ("data_dir",),
        lambda v: unless(v["task"] is not None or v.get("calibration") in list(GLUE), "with files of your own"),
        "give --task",
    ),
    Rule(
        ("data_revision",),
        lambda v: unless(v.get("data_dir") is None, "with --data-dir, which is not on the Hub"),
        by=("data_dir",),
    ),
    Rule(("new_head",), lambda v: unless(not (v["new_head"] and v["text_to_text"]), "with --text-to-text")),
)


@dataclass(frozen=True)
class Settings:
    """Hyperparameters. Defaults are the seed paper's (section 4.1) where it gives them.

    `schedule` None: by structure. `batch_size` is the whole batch, over all processes. `epochs`, or `max_steps`
    instead, are the length of the main phase; the steps of the stages before it are in addition. `warmup_ratio` is of
    all steps; after it the learning rate falls linearly to 0 at the last step. `learning_rate` may be "search".
    `max_length` are the tokens of an example; None: 128, or as many as the model takes. `precision` is what the matrix
    products of training are computed in (weights and optimizer are float32); None: bfloat16 on a GPU that has it,
    float32 elsewhere. `prune` with `density` and what follows is pruning.Pruning, of the targets that `prune_include`
    and `prune_exclude` (patterns, as a recipe's) leave; `prune_share` of the epochs or steps come before a
    factorization, if there is one. `mixed_with` and what follows is
    mixed.MixedRank, `consistency` the weight of its loss. `teacher` is a model to learn from, and what follows it are
    the weights of the parts of the loss (see distillation.py). `task` is a GLUE task, None for the user's files, of
    which `text_column` and `label_column` are read; `label_names` are the classes in the order of the model's outputs,
    `limit` takes the first training examples, `new_head` replaces the head that the model has. `data_revision` is of
    nyu-mll/glue on the Hub.
    """

    schedule: str | None = None
    order: str = "high-to-low"
    stage_steps: int = 500
    stages: int | None = None
    batch_size: int = 32
    epochs: float = 5.0
    max_steps: int | None = None
    learning_rate: float | str = 5e-5
    warmup_ratio: float = 0.06
    weight_decay: float = 0.01
    max_length: int | None = None
    precision: str | None = None
    text_to_text: bool = False
    prune: str | None = None
    density: float | None = None
    prune_scope: str = "matrix"
    prune_warmup: float = 0.1
    prune_cooldown: float = 0.3
    prune_share: float = 0.25
    prune_include: tuple[str, ...] = ()
    prune_exclude: tuple[str, ...] = ()
    mixed_with: str | None = None
    mixed_start: float = 0.5
    mixed_until: float = 0.8
    consistency: float = 0.0
    teacher: str | None = None
    temperature: float = 2.0
    label_weight: float = 1.0
    logit_weight: float = 1.0
    hidden_weight: float = 1.0
    attention_weight: float = 0.0
    task: str | None = None
    data_revision: str | None = None
    text_column: tuple[str, ...] = ()
    label_column: str = "label"
    label_names: tuple[str, ...] = ()
    limit: int | None = None
    new_head: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("batch_size", 1), ("epochs", 0.001), ("max_steps", 1), ("max_length", 2), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"--{name.replace('_', '-')} {value} is below {low:g}.")
        if not 0 <= self.warmup_ratio < 1:
            raise UsageError(f"--warmup-ratio {self.warmup_ratio} is not a fraction from 0 to below 1.")
        if self.weight_decay < 0:
            raise UsageError(f"--weight-decay {self.weight_decay} is below 0.")
        if (self.prune is None) != (self.density is None):
            raise UsageError("--prune and --density belong together: give both.")
        self.pruning  # noqa: B018  (refused here if need be)
        if not 0 < self.prune_share < 1:
            raise UsageError(f"prune_share {self.prune_share} is not a fraction between 0 and 1.")
        if not (0 < self.mixed_start <= 1 and 0 < self.mixed_until <= 1 and self.consistency >= 0):
            raise UsageError("mixed_start and mixed_until are above 0 and at most 1, consistency is not below 0.")
        for name in DISTILLING:
            if getattr(self, name) < 0 or (name == "temperature" and self.temperature == 0):
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)} is not above 0.")
        if self.teacher is not None and not any(getattr(self, name) for name in DISTILLING if name != "temperature"):
            raise UsageError(
                "Every weight of the loss is 0, so that nothing would be learnt: leave one of them above it."
            )
        check_seed("seed", self.seed)
        if self.precision not in (None, *PRECISIONS):
            raise UsageError(f"--precision {self.precision!r} is unknown: take {' or '.join(PRECISIONS)}.")
        if isinstance(self.learning_rate, str) and self.learning_rate != SEARCH:
            raise UsageError(f"--learning-rate {self.learning_rate!r} is neither a number nor {SEARCH!r}.")
        if not isinstance(self.learning_rate, str) and not 0 < self.learning_rate < 1:
            raise UsageError(f"--learning-rate {self.learning_rate} is not between 0 and 1.")

    @property
    def pruning(self) -> Pruning | None:
        if self.prune is None or self.density is None:
            return None
        return Pruning(self.prune, self.density, self.prune_scope, self.prune_warmup, self.prune_cooldown)

    @property
    def stage_options(self) -> StageOptions:
        return StageOptions(self.stage_steps, self.stages, self.order)

    def to_dict(self, regression: bool = False) -> dict[str, Any]:
        """What matters to a run (of a `regression`). Directories are named without those above them, which belong to
        one machine."""
        values = asdict(self)
        useless = idle(RULES, values | {"regression": regression})
        for name in ("teacher", "mixed_with"):
            if values[name] is not None and Path(values[name]).expanduser().is_dir():
                values[name] = Path(values[name]).expanduser().absolute().name
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in useless}
        return {k: v for k, v in values.items() if v is not None and v is not False and v != []}


def make_settings(config: str | Path | None, flags: Values) -> Settings:
    """Flags (None: not given) over the section `training` of the recipe file `config` over defaults; --epochs replaces
    its steps, and --max-steps its epochs."""
    file = read_settings(config)
    flags = {k: v for k, v in flags.items() if v is not None}
    replaced = LENGTHS if flags.keys() & set(LENGTHS) else ()
    values = {k: v for k, v in file.items() if k not in replaced} | flags
    rate = values.get("learning_rate")
    if isinstance(rate, str) and rate != SEARCH:
        try:
            values["learning_rate"] = float(rate)
        except ValueError as error:
            raise UsageError(f"--learning-rate {rate!r} is neither a number nor {SEARCH!r}.") from error
    for name in LISTS:
        if name in values:
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    return replace(Settings(), **values)


def read_settings(config: str | Path | None) -> dict[str, Any]:
    """The section `training` of a recipe file; raises as `read_recipe`."""
    return read_training(config, Settings) if config is not None else {}


def parse_seeds(text: str) -> list[int]:
    """ "1-6" or "1,2,5" -> the seeds."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text!r} is not a list such as 1-6 or 1,2,5.")
        for seed in (int(first), int(last or first)):
            check_seed("seeds", seed)
        if int(last or first) - int(first) >= MOST_SEEDS:
            raise UsageError(f"--seeds {text!r} are more than {MOST_SEEDS}, a run each: give fewer.")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {text!r} names a seed twice.")
    return seeds
