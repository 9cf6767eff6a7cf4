"""Which options of a recipe, and of its section `training`, have no effect beside others."""

from pathlib import Path
from typing import Any

from .fields import declared
from .registry import allocations, criteria, schedules, structures
from .rules import Rule, Values, of_owners, unless
from .values import BUDGETS, TASKS

WEIGHTS = ("label_weight", "logit_weight", "hidden_weight", "attention_weight")


def is_file(name: Any) -> bool:
    """Whether what a recipe calls its data is a file of this machine."""
    return name is not None and Path(name).expanduser().is_file()


_FACTORIZING = (
    "method", "criterion", "allocation", "compensation", "force_rank", "rank_multiple", "calibration",
    "calibration_samples", "data_revision", "max_length", "fisher", "objective", "label_column", "include", "exclude",
    "seed", "data_dir", "unseen_tokens",
)  # fmt: skip


def _unfactorized(v: Values) -> str | None:
    """Why options of a factorization have no effect where the vocabulary alone is made smaller."""
    alone = v.get("vocabulary") is not None and all(v[name] is None for name in BUDGETS)
    return unless(not alone, "with --vocabulary alone, which factorizes nothing")


def _criterion(v: Values) -> Any:
    return criteria[v["criterion"]]


def _with_criterion(v: Values) -> str:
    return f"with --criterion {v['criterion']}"


def _with_task(v: Values) -> str:
    return f"with --calibration {v['calibration']}, a task of GLUE"


def _criteria(method: str) -> str:
    return f"take --criterion {' or '.join(name for name in criteria if getattr(criteria[name], method)())}"


def _mixes(schedule: str | None) -> bool:
    return schedule is not None and schedules[schedule].mixes


OF_DATA = (
    Rule(
        ("max_length", "label_column", "data_dir", "data_revision"),
        lambda v: unless(v["calibration"] is not None, "without --calibration"),
        "name data to calibrate on",
    ),
    Rule(
        ("text_column",),
        lambda v: unless(v["calibration"] is not None or v.get("vocabulary") is not None, "without --calibration"),
        "name data to calibrate on",
    ),
    Rule(
        ("text_column",),
        lambda v: unless(v["calibration"] not in TASKS or v.get("vocabulary") is not None, _with_task(v)),
        by=("calibration",),
    ),
    Rule(("label_column",), lambda v: unless(v["calibration"] not in TASKS, _with_task(v)), by=("calibration",)),
    Rule(
        ("label_column",),
        lambda v: unless(v["fisher"] == "empirical", f"with --fisher {v['fisher']}, which reads no labels"),
        "take --fisher empirical",
        ("fisher",),
    ),
    Rule(
        ("data_dir",),
        lambda v: unless(v["calibration"] in TASKS, f"with --calibration {v['calibration']}, no task of GLUE"),
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


def of_recipes() -> tuple[Rule, ...]:
    """Of the values of a recipe, and the data_dir of the command."""
    owned = [
        name for kind in (structures, criteria, allocations) for one in kind for name in declared(kind[one].options)
    ]
    return (
    Rule(
        ("vocabulary_size",), lambda v: unless(v["vocabulary"] is not None, "without --vocabulary"), "give --vocabulary"
    ),
    Rule((*_FACTORIZING, *owned), _unfactorized, "give a budget: --params, --keep, --rank or --max-mb"),
    *of_owners("method", structures),
    Rule(
        ("force_rank",),
        lambda v: unless(v["rank"] is not None or not v["force_rank"], "without --rank"),
        "give the budget as --rank",
        ("params", "keep", "max_mb"),
    ),
    Rule(
        ("rank_multiple",),
        lambda v: unless(v["rank"] is None, "with --rank, which says the rank itself"),
        "give the budget as --keep, --params or --max-mb",
        ("rank",),
    ),
    *of_owners("criterion", criteria),
    Rule(
        ("unseen_tokens",),
        lambda v: unless(v["embeddings"] == "factorize", "without --embeddings factorize"),
        by=("embeddings",),
    ),
    Rule(
        ("unseen_tokens",),
        lambda v: unless(_criterion(v).reads_inputs(), _with_criterion(v) + ", which looks at no inputs"),
        _criteria("reads_inputs"),
        ("criterion",),
    ),
    *of_owners("allocation", allocations),
    Rule(
        ("compensation",),
        lambda v: unless(_criterion(v).reads_inputs(), _with_criterion(v) + ", which looks at no inputs"),
        _criteria("reads_inputs"),
        ("criterion",),
    ),
    Rule(
        (
            "calibration", "calibration_samples", "max_length", "fisher", "objective", "label_column", "data_dir",
            "data_revision",
        ),
        lambda v: unless(_criterion(v).reads_data(), _with_criterion(v) + ", which looks at no data"),
        _criteria("reads_data"),
        ("criterion",),
    ),
    Rule(
        ("text_column",),
        lambda v: unless(
            _criterion(v).reads_data() or v["vocabulary"] is not None, _with_criterion(v) + ", which looks at no data"
        ),
        _criteria("reads_data"),
        ("criterion",),
    ),
    Rule(
        ("fisher", "objective"),
        lambda v: unless(_criterion(v).reads_gradients(), _with_criterion(v) + ", which takes no gradients"),
        "take --criterion kfac, fisher or fisher-rows",
        ("criterion",),
    ),
    *OF_DATA,
)  # fmt: skip


def of_training() -> tuple[Rule, ...]:
    """Of settings whose schedule is resolved. What is no setting, but known of a run: data_dir, calibration,
    regression, unlabelled (nothing but a teacher to learn from), of that embedding (vectors) or hidden (states)."""
    return (
        *of_owners("schedule", schedules, ("model", "method", "prune"), "without a budget"),
        Rule(
            ("prune_scope", "prune_warmup", "prune_cooldown", "prune_include", "prune_exclude"),
            lambda v: unless(v["prune"] is not None, "without --prune"),
            "give --prune and --density",
        ),
        Rule(
            ("prune_share",),
            lambda v: unless(v["prune"] is not None and _mixes(v["schedule"]), "without --prune and a budget"),
            "give both",
        ),
        Rule(
            ("temperature", *WEIGHTS), lambda v: unless(v["teacher"] is not None, "without --teacher"), "give --teacher"
        ),
        Rule(
            ("temperature",),
            lambda v: unless(v["logit_weight"] != 0, "with --logit-weight 0"),
            by=("logit_weight",),
        ),
        Rule(("temperature",), lambda v: unless(not v.get("regression"), "on numbers, which are not softened")),
        Rule(("temperature",), lambda v: unless(not v.get("embedding"), "on vectors, which are not softened")),
        Rule(
            ("temperature", "logit_weight"),
            lambda v: unless(not v.get("hidden"), "on a model of which hidden states alone are learnt"),
        ),
        Rule(
            ("label_weight",),
            lambda v: unless(not v.get("unlabelled") or v["label_weight"] == 0, "on texts without labels"),
        ),
        Rule(
            ("label_column", "label_names", "new_head", "text_to_text"),
            lambda v: unless(not v.get("unlabelled"), "on texts without labels"),
        ),
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
            lambda v: unless(v["task"] is not None or v.get("calibration") in TASKS, "with files of your own"),
            "give --task",
        ),
        Rule(
            ("data_revision",),
            lambda v: unless(v.get("data_dir") is None, "with --data-dir, which is not on the Hub"),
            by=("data_dir",),
        ),
        Rule(("new_head",), lambda v: unless(not (v["new_head"] and v["text_to_text"]), "with --text-to-text")),
    )


PUBLISHING = (
    Rule(
        ("hub_model_id", "private"),
        lambda v: unless(v["push_to_hub"], "without --push-to-hub"),
        "give --push-to-hub",
    ),
)
