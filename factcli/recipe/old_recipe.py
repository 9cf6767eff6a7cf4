"""A recipe: what to do to a model. Saved with the model; run options (device, verbosity, overwrite) are apart."""

import math
from collections.abc import Collection, Hashable, Mapping
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
from ..data.tasks import GLUE
from ..errors import FactcliError, UsageError
from ..notes import note
from ..options import Rule, Values, check_seed, given, idle, refuse_idle, unless
from ..registry import Choice, Registry
from ..written import RECIPE
from .fields import Options

FILE_NAME = RECIPE
TRAINED = "trained_on"  # its section with what models/trained.py keeps
QUIET_KEYS = ("solver", "sparsity", "rank_multiple", "seed")  # not written where they have their defaults
BUDGETS = ("params", "keep", "rank")
SECTIONS = ("made_with", "training", TRAINED)  # of an export's recipe file, not part of the recipe
COMPENSATIONS = ("sequential", "none")
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def _own_options(v: Values) -> frozenset[str]:
    """Those of the criterion that have an effect."""
    kind = criteria[v["criterion"]]
    return kind(kind.options(**{name: v[name] for name in kind.options.model_fields if name in v})).used


def _has_blocks(method: str) -> bool:
    return "blocks" in structures[method].options.model_fields


def _looks_at(v: Values, *kinds: Kind) -> bool:
    return bool(criteria[v["criterion"]].needs & set(kinds))


def _with_criterion(v: Values) -> str:
    return f"with --criterion {v['criterion']}"


DATA_RULES = (
    Rule(
        ("max_length", "text_column", "label_column", "data_dir", "data_revision"),
        lambda v: unless(v["calibration"] is not None, "without --calibration"),
        "name data to calibrate on",
    ),
    Rule(
        ("text_column", "label_column"),
        lambda v: unless(v["calibration"] not in list(GLUE), f"with --calibration {v['calibration']}, a task of GLUE"),
        by=("calibration",),
    ),
    Rule(
        ("label_column",),
        lambda v: unless(v["fisher"] == "empirical", f"with --fisher {v['fisher']}, which reads no labels"),
        "take --fisher empirical",
        ("fisher",),
    ),
    Rule(
        ("data_dir",),
        lambda v: unless(v["calibration"] in list(GLUE), f"with --calibration {v['calibration']}, no task of GLUE"),
        by=("calibration",),
    ),
    Rule(
        ("data_revision",),
        lambda v: unless(not is_file(v["calibration"]), f"with --calibration {v['calibration']}, a file"),
        by=("calibration",),
    ),
    Rule(
        ("data_revision",),
        lambda v: unless(v.get("data_dir") is None, "with --data-dir, which is not on the Hub"),
        by=("data_dir",),
    ),
)
RULES = (
    Rule(
        ("blocks",),
        lambda v: unless(_has_blocks(v["method"]), f"with --method {v['method']}"),
        f"take --method {' or '.join(name for name in structures if _has_blocks(name))}",
        ("method",),
    ),
    Rule(
        ("force_rank",),
        lambda v: unless(v["rank"] is not None or not v["force_rank"], "without --rank"),
        "give the budget as --rank",
        ("params", "keep"),
    ),
    Rule(
        ("rank_multiple",),
        lambda v: unless(v["rank"] is None, "with --rank, which says the rank itself"),
        "give the budget as --keep or --params",
        ("rank",),
    ),
    Rule(
        ("solver",),
        lambda v: unless("solver" in _own_options(v), _with_criterion(v) + ", which has a closed form"),
        "take --criterion fisher",
        ("criterion", "sparsity"),
    ),
    Rule(
        ("sparsity",),
        lambda v: unless("sparsity" in _own_options(v), _with_criterion(v)),
        "take --criterion sparsity",
        ("criterion",),
    ),
    Rule(
        ("compensation",),
        lambda v: unless(_looks_at(v, Kind.INPUTS), _with_criterion(v) + ", which looks at no inputs"),
        f"take --criterion {' or '.join(name for name in criteria if Kind.INPUTS in criteria[name].needs)}",
        ("criterion",),
    ),
    Rule(
        ("calibration", "calibration_samples", "max_length", "fisher", "text_column", "label_column", "data_dir",
         "data_revision"),
        lambda v: unless(_looks_at(v, *Kind), _with_criterion(v) + ", which looks at no data"),
        f"take --criterion {' or '.join(name for name in criteria if criteria[name].needs)}",
        ("criterion",),
    ),
    Rule(
        ("fisher",),
        lambda v: unless(_looks_at(v, Kind.GRADIENTS, Kind.FISHER), _with_criterion(v) + ", which takes no gradients"),
        "take --criterion kfac, fisher or fisher-rows",
        ("criterion",),
    ),
    *DATA_RULES,
)  # fmt: skip


def _rules() -> tuple[Rule, ...]:
    """RULES, and that options in `more` are for the choices that own them."""
    flat = {f.name for f in fields(Recipe)}
    return (*RULES, *(_of_owners(name) for name in _owned() if name not in flat))


def _of_owners(name: str) -> Rule:
    every = _choices()
    owners = [f"--{kind} {entry}" for kind in every for entry in every[kind] if name in _own(every[kind][entry])]

    def because(v: Values) -> str | None:
        return unless(any(name in _own(every[kind][v[kind]]) for kind in every), f"without {' or '.join(owners)}")

    return Rule((name,), because, f"take {' or '.join(owners)}", tuple(every))


@dataclass(frozen=True)
class Recipe:
    """One point in the grid of structure, criterion, allocation and budget.

    `params`, `keep` and `rank` are as in Budget; ranks are multiples of `rank_multiple`; `solver` is for criteria
    without a closed form, `sparsity` how the criterion of that name weighs; `compensation` is "sequential" or "none"
    (None: what suits the criterion); `include` and `exclude` are regular
    expressions on target names; `dtype` is what is saved, None being the source's. The data of a criterion that needs
    some are `calibration` (a GLUE task, a file or a Hub data set, this one at `data_revision`) and what follows it.
    `more` has the options that choices own, beside those that are fields here.
    """

    method: str = "low-rank"
    blocks: int = 4
    params: int | None = None
    keep: float | None = None
    rank: int | None = None
    force_rank: bool = False
    criterion: str = "frobenius"
    solver: str = "cg"
    sparsity: str = "l0"
    compensation: str | None = None
    allocation: str = "uniform"
    rank_multiple: int = 1
    calibration: str | None = None
    calibration_samples: int = 512
    data_revision: str | None = None
    max_length: int | None = None
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
        if self.dtype is not None:
            parse_dtype(self.dtype)
        try:
            for choice in self.choices:
                choice.made(self)
        except ValidationError as error:
            raise UsageError(_refusal(error)) from error
        if self.fisher not in FISHER:
            raise UsageError(f"--fisher {self.fisher!r} is unknown: take {' or '.join(FISHER)}.")
        if self.compensation not in (None, *COMPENSATIONS):
            raise UsageError(f"--compensation {self.compensation!r} is unknown: take {' or '.join(COMPENSATIONS)}.")
        if self.compensation == "sequential" and Kind.INPUTS not in criteria[self.criterion].needs:
            known = ", ".join(name for name in criteria if Kind.INPUTS in criteria[name].needs)
            raise UsageError(f"--compensation sequential needs a criterion that looks at inputs: {known}.")
        if self.rank is not None and allocations[self.allocation].needs_gains:
            raise UsageError(
                f"--rank is one rank for all: give --keep or --params with --allocation {self.allocation}."
            )
        for option in ("rank_multiple", "calibration_samples", "max_length"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise UsageError(f"--{option.replace('_', '-')} {value} is below 1.")
        check_seed("seed", self.seed)

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

    def values(self) -> dict[str, Any]:
        """Every option by its name, asked for or not."""
        values = asdict(self)
        more: dict[str, Any] = values.pop("more")
        return values | more

    def to_dict(self) -> dict[str, Any]:
        """What has an effect, without what was not asked for. A file is named without its directory, which belongs to
        one machine."""
        values = self.values()
        useless = idle(_rules(), values)
        values["compensation"] = "sequential" if self.compensates else "none"
        if is_file(self.calibration):
            values["calibration"] = Path(str(self.calibration)).name
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in values.items()
            if not (k in useless or v is None or v is False or v == ())
            and not (k in QUIET_KEYS and v == getattr(Recipe, k))
        }


def is_file(name: str | None) -> bool:
    """Whether what a recipe calls its data is a file of this machine."""
    return name is not None and Path(name).expanduser().is_file()


def parse_dtype(text: str) -> str:
    """A precision to save in, by its name or its short one. Raises UsageError for another."""
    name = DTYPES.get(text, text)
    if name not in DTYPES.values():
        raise UsageError(f"--dtype {text!r} is unknown: take {', '.join(DTYPES.values())}.")
    return name


def make_recipe(config: str | Path | None, flags: Values, data_dir: str | Path | None = None) -> Recipe:
    """Flags (None: not given) over the file `config` over defaults; a budget given as a flag replaces the file's.

    `data_dir`, which is in no recipe, is that of the command. Raises UsageError for a value that cannot be read and for
    an option without effect, FactcliError for a file that cannot be read.
    """
    file = read_recipe(config) if config is not None else {}
    recipe = _resolve(file, flags)
    values = recipe.values() | {"data_dir": data_dir}
    refuse_idle(_rules(), values, given({**flags, "data_dir": data_dir}), str(config), file)
    return recipe


def recorded_recipe(path: Path) -> Recipe:
    """The recipe that an export was made with."""
    return _resolve(read_recipe(path), {})


def _resolve(file: Mapping[str, Any], flags: Values) -> Recipe:
    flags = {k: v for k, v in flags.items() if v is not None}
    replaced = BUDGETS if flags.keys() & set(BUDGETS) else ()
    values = {k: v for k, v in file.items() if k not in replaced} | flags
    if "params" in values:
        values["params"] = parse_count(values["params"])
    if "dtype" in values:
        values["dtype"] = parse_dtype(values["dtype"])
    for name in ("include", "exclude", "text_column"):
        if name in values:
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    flat = {f.name for f in fields(Recipe)}
    more = {k: v for k, v in values.items() if k not in flat}
    return replace(Recipe(), **{k: v for k, v in values.items() if k in flat}, more=more)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The values of a recipe file, without its sections.

    Raises FactcliError for a file that cannot be read, UsageError for what is wrong in it.
    """
    values = {k: v for k, v in load_file(path).items() if k not in SECTIONS}
    values = check_keys(values, Recipe, f"The recipe {path}", loose=("params",), free=_owned())
    several = [name for name in BUDGETS if name in values]
    if len(several) > 1:
        raise UsageError(f"The recipe {path} has {' and '.join(several)}: leave one of them.")
    return values


def read_training(path: str | Path, settings: type) -> dict[str, Any]:
    """The values of a recipe file's section `training`, fields of the dataclass `settings`; raises as `read_recipe`."""
    values = load_file(path).get("training") or {}
    if not isinstance(values, dict):
        raise UsageError(f"The recipe {path} has a section 'training' that is not a mapping such as 'epochs: 3'.")
    return check_keys(values, settings, f"The section 'training' of the recipe {path}")


def load_file(path: str | Path) -> dict[str, Any]:
    """A recipe file as it stands. Raises FactcliError where it cannot be read, or is no mapping of distinct keys."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise FactcliError(f"Cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        raise FactcliError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise FactcliError(f"The recipe {path} must be a mapping such as 'method: monarch'.")
    return values


class _Loader(yaml.SafeLoader):
    """YAML as it is, but a key that stands twice is refused: the first one would be lost without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def check_keys(
    values: dict[Any, Any], kind: type, where: str, loose: Collection[str] = (), free: Collection[str] = ()
) -> dict[str, Any]:
    """The values that are not null, lists as tuples. Raises UsageError for one that is no field of the dataclass `kind`
    or not of the field's type (but for the keys `loose`, and for those of `free`, which are no fields: they are read
    elsewhere)."""
    types: dict[str, Any] = {f.name: f.type for f in fields(kind) if f.name != "more"}
    types |= {name: None for name in free if name not in types}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            near = get_close_matches(str(name), types, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f": known are {', '.join(types)}."
            raise UsageError(f"{where} has an unknown key {name!r}{hint}")
        if value is None:
            continue
        if name not in loose and types[name] is not None and not _fits(value, types[name]):
            raise UsageError(f"{where} has {name}: {value!r}, which is not {_called(types[name])}.")
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def _choices() -> dict[str, Mapping[str, type[Choice]]]:
    """Every choice by its name, by the option that names it."""
    kinds: dict[str, Registry[Any]] = {"method": structures, "criterion": criteria, "allocation": allocations}
    return {option: {name: kind[name] for name in kind} for option, kind in kinds.items()}


def _own(choice: type[Choice]) -> Collection[str]:
    return choice.options.model_fields


def _owned() -> dict[str, type[Options]]:
    """Every option that a choice owns, with the group that declares it."""
    every = [choice for kind in _choices().values() for choice in kind.values()]
    return {name: choice.options for choice in every for name in _own(choice)}


def _refusal(error: ValidationError) -> str:
    """The first of what pydantic found, as a sentence."""
    first = error.errors()[0]
    option, value, context = f"--{first['loc'][0]}".replace("_", "-"), first["input"], first.get("ctx", {})
    if first["type"] == "greater_than_equal":
        return f"{option} {value} is below {context['ge']}."
    if first["type"] == "literal_error":
        known = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{option} {value!r} is unknown: take {known}."
    return f"{option} {value!r}: {first['msg']}."


def _fits(value: Any, kind: Any) -> bool:
    if "tuple" in str(kind):
        items = value if isinstance(value, list) else [value]
        return all(isinstance(v, str) and v.strip() for v in items)
    if isinstance(value, str):
        return "str" in str(kind) and bool(value.strip())
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, float):
        return "float" in str(kind) and math.isfinite(value)
    return isinstance(value, int) and ("int" in str(kind) or "float" in str(kind))


def _called(kind: Any) -> str:
    if "tuple" in str(kind):
        return "a text or a list of texts"
    if kind is bool:
        return "true or false"
    words = {"str": "a text", "int": "a whole number", "float": "a number (written 0.001 or 1.0e-3)"}
    return " or ".join(said for name, said in words.items() if name in str(kind))


def source_of_recipe(path: str | Path | None, revision: str | None = None) -> str:
    """The model on the Hub that an export's recipe was made with, as `id@commit`.

    Raises UsageError without a recipe and for a `revision` beside it, FactcliError for a recipe that names none.
    """
    if path is None:
        raise UsageError("Give MODEL, a directory or Hub id.")
    if revision is not None:
        raise UsageError("--revision has no effect without MODEL: leave it out, or give MODEL.")
    read_recipe(path)
    made = load_file(path).get("made_with") or {}
    if not isinstance(made, dict) or not made.get("revision"):
        said = f"the local directory {made['model']}" if isinstance(made, dict) and made.get("model") else "no model"
        raise FactcliError(f"The recipe {path} was made with {said}: give MODEL.")
    return f"{made['model']}@{made['revision']}"


def note_training(path: str | Path | None) -> None:
    """Say that a command that does not train leaves a recipe's section `training` aside."""
    if path is not None and load_file(path).get("training"):
        note(f"The section 'training' of the recipe {path} is for 'factcli finetune': nothing is trained here.")


def dump_recipe(
    recipe: Recipe | None,
    made_with: dict[str, Any],
    training: dict[str, Any] | None = None,
    trained: dict[str, Any] | None = None,
    dtype: str | None = None,
) -> str:
    """The file saved in an export: the resolved recipe (None: nothing was factorized), in what precision it was saved
    if that was asked for, how it was trained, what the model or the one it was made from was `trained` on, and where it
    was applied."""
    values = (recipe.to_dict() if recipe else {}) | ({"dtype": dtype} if dtype else {})
    values |= ({"training": training} if training else {}) | ({TRAINED: trained} if trained else {})
    return yaml.safe_dump(values | {"made_with": made_with}, sort_keys=False, allow_unicode=True)
