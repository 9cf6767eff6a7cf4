"""A recipe: what to do to a model. Saved with the model; run options (device, verbosity, overwrite) are apart."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..calibration.statistics import FISHER, Kind
from ..compress.allocations import allocations
from ..compress.criteria import criteria
from ..compress.plan import Budget, parse_count
from ..compress.structures import structures
from ..errors import FactcliError, UsageError
from ..notes import note
from ..registry import Choice
from .fields import Options

FILE_NAME = "factcli_recipe.yaml"
QUIET_KEYS = ("sparsity", "rank_multiple")  # not written where they have their defaults
DATA_KEYS = (
    "calibration", "calibration_samples", "data_revision", "max_length", "fisher", "text_column", "label_column"
)  # fmt: skip
COMPENSATIONS = ("sequential", "none")
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Recipe:
    """One point in the grid of structure, criterion, allocation and budget.

    `params`, `keep` and `rank` are as in Budget; ranks are multiples of `rank_multiple`; `compensation` is
    "sequential" or "none" (None: what suits the criterion); `include` and `exclude` are regular expressions on target
    names; `dtype` is what is saved, None being the source's. The data of a criterion that needs some are `calibration`
    (a GLUE task, a file or a Hub data set, this one at `data_revision`) and what follows it. `more` has the options
    that choices own, beside those that are fields here.
    """

    method: str = "low-rank"
    blocks: int = 4
    params: int | None = None
    keep: float | None = None
    rank: int | None = None
    force_rank: bool = False
    criterion: str = "frobenius"
    sparsity: str = "l0"
    compensation: str | None = None
    allocation: str = "uniform"
    rank_multiple: int = 1
    calibration: str | None = None
    calibration_samples: int = 512
    data_revision: str | None = None
    max_length: int = 128
    fisher: str = "sampled"
    text_column: tuple[str, ...] = ()
    label_column: str = "label"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dtype: str | None = None
    seed: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """An option in `more`, else its default."""
        if name not in (owned := _owned()):
            raise AttributeError(name)
        return self.more.get(name, owned[name].model_fields[name].default)

    def __post_init__(self) -> None:
        try:
            for choice in self.choices:
                choice.made(self)
        except ValidationError as error:
            raise UsageError(_refusal(error)) from error
        if self.dtype not in (None, *DTYPES.values()):
            raise UsageError(f"--dtype {self.dtype!r} is unknown: take {', '.join(DTYPES.values())}.")
        if self.fisher not in FISHER:
            raise UsageError(f"--fisher {self.fisher!r} is unknown: take {' or '.join(FISHER)}.")
        if self.compensation not in (None, *COMPENSATIONS):
            raise UsageError(f"--compensation {self.compensation!r} is unknown: take {' or '.join(COMPENSATIONS)}.")
        if self.compensation == "sequential" and Kind.INPUTS not in criteria[self.criterion].needs:
            known = ", ".join(name for name in criteria if Kind.INPUTS in criteria[name].needs)
            raise UsageError(f"--compensation sequential needs a criterion that looks at inputs: {known}.")
        for option in ("rank_multiple", "calibration_samples", "max_length"):
            if getattr(self, option) < 1:
                raise UsageError(f"--{option.replace('_', '-')} {getattr(self, option)} is below 1.")

    @property
    def choices(self) -> tuple[type[Choice], ...]:
        return structures[self.method], criteria[self.criterion], allocations[self.allocation]

    @property
    def compensates(self) -> bool:
        """Whether layers are fitted one after the other to the inputs that those before them give."""
        chosen = self.compensation or ("sequential" if Kind.INPUTS in criteria[self.criterion].needs else "none")
        return chosen == "sequential"

    @property
    def budget(self) -> Budget:
        return Budget(self.params, self.keep, self.rank)

    def to_dict(self) -> dict[str, Any]:
        """Only what differs from nothing: unset values are left out, and how to read data where none are. A file is
        named without its directory, which belongs to one machine."""
        values = asdict(self)
        values |= values.pop("more")
        values = {k: None if k in QUIET_KEYS and v == getattr(Recipe, k) else v for k, v in values.items()}
        if Kind.INPUTS in criteria[self.criterion].needs:
            values["compensation"] = "sequential" if self.compensates else "none"
        idle = _owned().keys() - {name for choice in self.choices for name in choice.options.model_fields}
        values |= dict.fromkeys(idle)
        if self.calibration is None:
            values |= dict.fromkeys(DATA_KEYS)
        elif Path(self.calibration).is_file():
            values["calibration"] = Path(self.calibration).name
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v not in (None, (), False)}


def make_recipe(config: str | Path | None, flags: dict[str, Any]) -> Recipe:
    """Flags (None or empty: not given) over the file `config` over defaults; a budget given as a flag replaces the
    file's. Raises UsageError for a value that cannot be read, FactcliError for a file that cannot."""
    given = {k: v for k, v in flags.items() if v is not None and v is not False and v not in ((), [])}
    values = read_recipe(config) if config is not None else {}
    if given.keys() & {"params", "keep", "rank"}:
        values = {k: v for k, v in values.items() if k not in ("params", "keep", "rank")}
    values |= given
    if "params" in values:
        values["params"] = parse_count(values["params"])
    if "dtype" in values:
        values["dtype"] = DTYPES.get(values["dtype"], values["dtype"])
    for name in ("include", "exclude", "text_column"):
        if name in values:
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    flat = {f.name for f in fields(Recipe)}
    more = {k: v for k, v in values.items() if k not in flat}
    return replace(Recipe(), **{k: v for k, v in values.items() if k in flat}, more=more)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The values of a recipe file; its section `made_with` (provenance) is not part of the recipe."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FactcliError(f"Cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        raise FactcliError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise FactcliError(f"The recipe {path} must be a mapping such as 'method: monarch'.")
    values.pop("made_with", None)
    values.pop("training", None)  # how to train: training/settings.py reads it
    if values.get("solver") == "cg":
        note(f"The recipe {path} has solver: cg, which is the only one by now: leave it out.")
        del values["solver"]
    if "solver" in values:
        raise FactcliError(f"The recipe {path} has solver: {values['solver']}, which is no more: leave it out, for cg.")
    kinds: dict[str, Any] = dict.fromkeys(_owned()) | {f.name: f.type for f in fields(Recipe) if f.name != "more"}
    for name, value in values.items():
        if name not in kinds:
            near = get_close_matches(str(name), kinds, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f": known are {', '.join(kinds)}."
            raise FactcliError(f"The recipe {path} has an unknown key {name!r}{hint}")
        if kinds[name] is not None and not _fits(value, kinds[name]) and name != "params":
            raise FactcliError(f"The recipe {path} has {name}: {value!r}, which is not of the kind {kinds[name]}.")
    return values


def source_of_recipe(path: str | Path | None) -> str:
    """The model on the Hub that an export's recipe was made with, as `id@commit`.

    Raises UsageError without a recipe, FactcliError for one that names none.
    """
    if path is None:
        raise UsageError("Give MODEL, a directory or Hub id.")
    read_recipe(path)
    made = (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).get("made_with") or {}
    if not made.get("revision"):
        said = f"the local directory {made['model']}" if made.get("model") else "no model"
        raise FactcliError(f"The recipe {path} was made with {said}: give MODEL.")
    return f"{made['model']}@{made['revision']}"


def _owned() -> dict[str, type[Options]]:
    """Every option that a choice owns, with the group that declares it."""
    every: list[type[Choice]] = [r[name] for r in (structures, criteria, allocations) for name in r]
    return {name: choice.options for choice in every for name in choice.options.model_fields}


def _refusal(error: ValidationError) -> str:
    """The first of what pydantic found, as a sentence."""
    first = error.errors()[0]
    option, value, context = f"--{first['loc'][0]}".replace("_", "-"), first["input"], first.get("ctx", {})
    if first["type"] == "greater_than_equal":
        return f"{option} {value} is below {context['ge']}."
    if first["type"] == "literal_error":
        return f"{option} {value!r} is unknown: take {context['expected']}."
    return f"{option} {value!r}: {first['msg']}."


def _fits(value: Any, kind: Any) -> bool:
    if "tuple" in str(kind):
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    if "float" in str(kind):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind)


def dump_recipe(recipe: Recipe | None, made_with: dict[str, Any], training: dict[str, Any] | None = None) -> str:
    """The file saved in an export: the resolved recipe (None: nothing was factorized), how it was trained, and where it
    was applied."""
    values = (recipe.to_dict() if recipe else {}) | ({"training": training} if training else {})
    return yaml.safe_dump(values | {"made_with": made_with}, sort_keys=False, allow_unicode=True)
