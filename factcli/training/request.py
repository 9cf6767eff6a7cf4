"""What was asked of a training: read, and refused where it cannot be, before anything is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.labels import head_size
from ..data.tables import read_table
from ..data.tasks import GLUE, Task, user_task
from ..data.unlabelled import has_labels, unlabelled_task
from ..errors import UsageError
from ..models.devices import pick_device
from ..models.model import Model
from ..models.precision import say_if_slow
from ..models.purpose import EMBEDDING, HIDDEN, find_purpose
from ..notes import note
from ..recipe import running
from ..recipe.commands import Asked
from ..recipe.effects import of_training
from ..recipe.factorizing import Recipe
from ..recipe.fields import given
from ..recipe.file import FILE_NAME, make_recipe, read_recipe, recorded_recipe
from ..recipe.registry import criteria
from ..recipe.rules import refuse_idle
from ..recipe.training import ALONE, ALONE_WITH_HEAD, Settings, read_settings
from ..scores.tagging import tags_of
from .pruning import check_sizes
from .run import check_reporter, in_bfloat16, processes
from .schedules import schedule_that, schedules
from .setup import schedule_of
from .unlabelled import check_settings, to_learn

_FIRST = "{} is for 'factcli convert': convert with it first, then fine-tune what that wrote, without it."


@dataclass(frozen=True)
class Request:
    """`recipe` is None where nothing is to be factorized; `dtype` is what to save in, None being the source's."""

    asked: Asked
    making: running.Making
    files: running.Files
    run: running.Training
    settings: Settings
    recipe: Recipe | None
    dtype: str | None
    device: torch.device

    @property
    def several(self) -> bool:
        """Whether it is a run for each of several seeds."""
        return self.run.seeds is not None

    @property
    def seeds(self) -> list[int]:
        return list(self.run.seeds) if self.run.seeds is not None else [self.settings.seed]

    @property
    def lpaf(self) -> bool:
        """Whether the model is pruned, then factorized, then trained."""
        return self.settings.prune is not None and self.recipe is not None


def read_request(asked: Asked) -> Request:
    """Raises UsageError for options that do not go together."""
    if asked.values.keys() >= {"epochs", "max_steps"}:
        raise UsageError("Give --epochs or --max-steps, not both.")
    making, run = asked.of(running.Making), asked.of(running.Training)
    settings = asked.of(Settings, read_settings(making.config))
    check_reporter(run.report_to)
    if run.seeds is not None and "seed" in asked.values:
        raise UsageError("Give --seed or --seeds, not both.")
    if run.teacher_cache and settings.teacher is None:
        raise UsageError("--teacher-cache is for --teacher: give both.")
    if run.seeds is not None and asked.values.get("push_to_hub"):
        raise UsageError("--push-to-hub publishes one model: give --seed, not --seeds.")
    recipe = _recipe(asked, making, settings)
    dtype = asked.values.get("dtype") or read_recipe(making.config).get("dtype")
    request = Request(asked, making, asked.of(running.Files), run, settings, recipe, dtype, torch.device("cpu"))
    if request.lpaf:
        _check_phases(settings, request.several)
    if settings.prune is not None and recipe is None:
        patterns = {f"prune_{name}": asked.values[name] for name in ("include", "exclude") if name in asked.values}
        settings = settings.but(**patterns)
    device = pick_device(asked.of(running.Device).device)
    if settings.precision == "bfloat16" and device.type == "cpu":
        say_if_slow("--precision" if "precision" in asked.values else f"precision in {making.config}", "bfloat16")
    settings = settings.but(precision="bfloat16" if in_bfloat16(settings.precision, device) else "float32")
    return replace(request, settings=settings, device=device)


def _recipe(asked: Asked, making: running.Making, settings: Settings) -> Recipe | None:
    """The recipe of the factorization; None where neither options nor file ask for one; patterns may be for pruning."""
    flags = asked.flags(Recipe)
    wanted = (flags.keys() - {"dtype"}) | (read_recipe(making.config).keys() - {"dtype", "seed"})
    if settings.prune is not None:
        wanted -= {"include", "exclude"}
    if not wanted:
        return None
    recipe = make_recipe(making.config, flags)
    if recipe.vocabulary is not None and (flags.keys() & {"vocabulary", "vocabulary_size"} or not recipe.factorizes):
        raise UsageError(_FIRST.format("--vocabulary"))
    if recipe.factorizes_embeddings and "embeddings" in flags:
        raise UsageError(_FIRST.format("--embeddings factorize"))
    _ = recipe.budget  # refused here if it is not exactly one
    return recipe


def _check_phases(settings: Settings, several: bool) -> None:
    """Raises UsageError for what does not go with pruning and factorizing in one."""
    if several:
        raise UsageError("--prune with a budget makes one model: give --seed, not --seeds.")
    if processes() > 1:
        raise UsageError("--prune with a budget runs in one process: give its three phases as three commands.")
    if settings.max_steps == 1:
        raise UsageError("--max-steps 1 is not a step for each of two trainings: give at least 2.")
    mixing = schedule_that(mixes=True)
    if settings.schedule not in (None, mixing) or settings.mixed_with is not None:
        raise UsageError(
            f"--prune with a budget trains by schedule {mixing}, with the model that it pruned: leave out "
            "--schedule and --mixed-with."
        )


def fitted(request: Request, source: Model, data_dir: str | Path | None) -> tuple[Request, Task]:
    """The request as it is for this source, with its schedule resolved, and the task. Raises UsageError for what does
    not go with them."""
    settings, recipe = request.settings, request.recipe
    if source.factorized:
        _check_factorized(source, request)
        recipe = None
    elif recipe is not None and recipe.vocabulary is not None:
        raise UsageError(_FIRST.format("--vocabulary"))
    elif recipe is not None and recipe.factorizes_embeddings:
        raise UsageError(_FIRST.format("--embeddings factorize"))
    elif recipe is None and settings.schedule is not None:
        raise UsageError("--schedule is for factorizing: give --method and a budget with it.")
    if settings.prune is not None:
        include, exclude = settings.prune_include, settings.prune_exclude
        if recipe is not None:
            include, exclude = recipe.include, recipe.exclude
        targets = source.targets(include, exclude)
        check_sizes(settings, [t.size for t in targets if t.kept is None])
    settings = settings.but(schedule=schedule_of(source, settings, recipe))
    _check_processes(settings, request.run)
    task = _task(settings, request, source)
    alone = to_learn(source).kind if task.label is None else None
    in_recipe = read_settings(request.making.config)
    if alone is not None:
        check_settings(settings)
    refuse_idle(
        of_training(),
        vars(settings) | {
            "task": None if task.files else task.name, "regression": task.regression, "data_dir": data_dir,
            "unlabelled": alone is not None, "embedding": alone == EMBEDDING, "hidden": alone == HIDDEN,
            "calibration": recipe.calibration if recipe and criteria[recipe.criterion].needs else None,
        },
        given({**request.asked.values, "model": request.making.model if source.factorized else None}),
        str(request.making.config), in_recipe,
    )  # fmt: skip
    if recipe is not None:
        recipe = _with_columns(recipe, settings)
    if alone is not None:
        settings = settings.but(label_weight=0.0)
        if "learning_rate" not in {**in_recipe, **request.asked.values}:
            settings = settings.but(learning_rate=ALONE if alone in (EMBEDDING, HIDDEN) else ALONE_WITH_HEAD)
    return replace(request, settings=settings, recipe=recipe), task


def _with_columns(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe, whose file to calibrate on is read as the training data are where it has their columns and the recipe
    names none."""
    file = Path(recipe.calibration or "").expanduser()
    if not settings.text_column or recipe.text_column or not file.is_file():
        return recipe
    there = {name.strip().casefold() for name in read_table(file).names}
    if not {name.strip().casefold() for name in settings.text_column} <= there:
        return recipe
    recipe = recipe.but(text_column=settings.text_column)
    labelled = recipe.fisher == "empirical" and settings.label_column.strip().casefold() in there
    return recipe.but(label_column=settings.label_column) if labelled else recipe


def _check_processes(settings: Settings, run: running.Training) -> None:
    """Raises UsageError for what several processes cannot do together."""
    count = processes()
    if settings.batch_size % count:
        raise UsageError(f"--batch-size {settings.batch_size} is not divisible by the {count} processes: take another.")
    if count > 1 and run.torch_compile and settings.schedule is not None and schedules[settings.schedule].gradual:
        raise UsageError("--torch-compile over several processes needs --schedule direct.")


def _check_factorized(source: Model, request: Request) -> None:
    """Raises UsageError where a model that is factorized is to be factorized or pruned; its own recipe may be given."""
    settings, config = request.settings, request.making.config
    if settings.prune is not None:
        raise UsageError(f"{source.name} is factorized already: --prune needs the dense model it came from.")
    own = source.path / FILE_NAME
    known = recorded_recipe(own).to_dict() if own.is_file() else None
    flags = request.asked.flags(Recipe).keys() - {"dtype"}
    repeated = not flags and config is not None and recorded_recipe(Path(config)).to_dict() == known
    if (request.recipe is not None and not repeated) or (
        settings.schedule is not None and schedules[settings.schedule].gradual
    ):
        raise UsageError(
            f"{source.name} is factorized already: leave out --method, the budget and --schedule, or start from the "
            "dense model it came from."
        )


def _task(settings: Settings, request: Request, source: Model) -> Task:
    """The user's files, or the task of GLUE; one of a recipe gives way to files. Without labels where there is a
    teacher to learn from, and no column of them or none that is looked at."""
    train, validation = request.files.train, request.files.validation
    if train is None and validation is None and settings.task is not None:
        return GLUE[settings.task]
    if "task" in request.asked.values:
        raise UsageError("Give either --task, for GLUE, or --train and --validation.")
    if train is not None and settings.teacher is not None:
        unread = validation is None and settings.label_weight == 0
        if unread or ("label_column" not in request.asked.values and not has_labels(train, settings.label_column)):
            if has_labels(train, settings.label_column):
                note(f"{train}: column {settings.label_column!r} is not read, as nothing is learnt of labels.")
            apart = find_purpose(source).kind == EMBEDDING
            return unlabelled_task(train, validation, settings.text_column, apart, settings.seed)
        if validation is None:
            raise UsageError(
                f"{train} has labels, but there are none to measure by: give --validation, or --label-weight 0 to "
                "learn from the teacher alone."
            )
    if train is None or validation is None:
        raise UsageError(
            "Give --task, for GLUE, or both --train FILE and --validation FILE; for texts without labels --train and "
            "--teacher."
        )
    scores = source.model_class.__name__.endswith("ForSequenceClassification") and head_size(source.config) == 1
    return user_task(
        {"train": train, "validation": validation}, settings.text_column, settings.label_column, settings.label_names,
        True if scores and not settings.new_head else None,
        numbered=bool(settings.label_names), tags=() if settings.new_head else tags_of(source),
    )  # fmt: skip
