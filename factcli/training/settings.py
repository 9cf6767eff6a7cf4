"""How to train: what the recipe's section `training` holds."""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ..errors import FactcliError, UsageError
from .pruning import Pruning
from .schedules import StageOptions

RATES = (1e-4, 5e-4, 1e-5, 5e-5, 1e-6, 5e-6)  # of the seed paper's search, section 4.1
SEARCH = "search"
DISTILLING = ("temperature", "label_weight", "logit_weight", "hidden_weight", "attention_weight")
PATTERNS = ("prune_include", "prune_exclude")
PRECISIONS = ("float32", "bfloat16")


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
    the weights of the parts of the loss (see distillation.py). `task` is a GLUE task, None for the user's files;
    `data_revision` is of nyu-mll/glue on the Hub.
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
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("batch_size", 1), ("epochs", 0.001), ("max_steps", 1), ("max_length", 2)):
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

    def to_dict(self) -> dict[str, Any]:
        """What matters to a run: stages only where there are any, epochs only where steps are not given."""
        unused = {"epochs"} if self.max_steps else set()
        unused |= set(DISTILLING) if self.teacher is None else set()
        unused |= {"order", "stage_steps", "stages"} if self.schedule != "staged" else set()
        unused |= {"prune_scope", "prune_warmup", "prune_cooldown"} if self.prune is None else set()
        unused |= {"mixed_start", "mixed_until", "consistency"} if self.schedule != "mixed-rank" else set()
        unused |= {"prune_share"} if self.prune is None or self.schedule != "mixed-rank" else set()
        values = asdict(self)
        for name in ("teacher", "mixed_with"):  # a directory belongs to one machine
            if values[name] is not None and Path(values[name]).is_dir():
                values[name] = Path(values[name]).absolute().name
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in unused}
        return {k: v for k, v in values.items() if v is not None and v is not False and v != []}


def make_settings(config: str | Path | None, flags: dict[str, Any]) -> Settings:
    """Flags (None: not given) over the section `training` of the recipe file `config` over defaults."""
    values = _read(config) if config is not None else {}
    values |= {k: v for k, v in flags.items() if v is not None}
    rate = values.get("learning_rate")
    if isinstance(rate, str) and rate != SEARCH:
        try:
            values["learning_rate"] = float(rate)
        except ValueError as error:
            raise UsageError(f"--learning-rate {rate!r} is neither a number nor {SEARCH!r}.") from error
    if "max_steps" in flags and flags["max_steps"] is None and flags.get("epochs") is not None:
        values.pop("max_steps", None)  # epochs given as a flag win over the file's steps
    return replace(Settings(), **values)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        whole = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FactcliError(f"Cannot read the recipe {path}: {' '.join(str(error).split())}.") from error
    values = whole.get("training", {}) if isinstance(whole, dict) else {}
    if not isinstance(values, dict):
        raise FactcliError(f"The recipe {path} has a section 'training' that is not a mapping such as 'epochs: 3'.")
    kinds = {f.name: f.type for f in fields(Settings)}
    for name, value in values.items():
        if name not in kinds:
            near = get_close_matches(str(name), kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(kinds)}."
            raise FactcliError(f"The recipe {path} has an unknown key {name!r} in 'training': {hint}")
        if name in PATTERNS:
            if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
                raise FactcliError(
                    f"The recipe {path} has training: {name}: {value!r}, which is not a list of patterns."
                )
            values[name] = tuple(value)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if "str" not in str(kinds[name]) and kinds[name] is not bool and not number:
            raise FactcliError(f"The recipe {path} has training: {name}: {value!r}, which is not a number.")
    return values


def parse_seeds(text: str) -> list[int]:
    """ "1-6" or "1,2,5" -> the seeds."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text!r} is not a list such as 1-6 or 1,2,5.")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {text!r} names a seed twice.")
    return seeds
