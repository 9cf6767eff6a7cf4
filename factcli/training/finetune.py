"""finetune: train a model on a task, factorizing it at once, in stages, or not at all."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..checkpoint import look_at_files
from ..compress.criteria import criteria
from ..conversion import pick_device
from ..data.tasks import GLUE, Task, data_commit, load_split, user_task
from ..errors import UsageError
from ..hub.publish import Publishing
from ..notes import note
from ..options import PUBLISHING, Values, check_values, given, refuse_idle
from ..outputs import Output, inputs
from ..recipe.old_recipe import (
    FILE_NAME,
    Recipe,
    make_recipe,
    parse_dtype,
    read_recipe,
    recorded_recipe,
    source_of_recipe,
)
from ..source import Source, find_source
from ..targets import find_targets
from ..unchanged import unchanged
from .checkpoints import CHECKPOINTS, PHASES, SEEDS, check_clear
from .events import Watch
from .job import prepare
from .phases import prune_and_factorize
from .run import check_reporter, in_bfloat16, is_main, processes
from .runner import Runner
from .schedules import schedules
from .settings import RULES, Settings, make_settings, parse_seeds, read_settings
from .setup import RunOptions, equipped, planned, schedule_of


@unchanged()
def finetune(
    model: str | None = None,
    output: str | Path | None = None,
    *,
    task: str | None = None,
    data_dir: str | Path | None = None,
    data_revision: str | None = None,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    text_column: Sequence[str] | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    limit: int | None = None,
    config: str | Path | None = None,
    method: str | None = None,
    params: str | int | None = None,
    keep: float | None = None,
    rank: int | None = None,
    blocks: int | None = None,
    force_rank: bool | None = None,
    criterion: str | None = None,
    allocation: str | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    dtype: str | None = None,
    schedule: str | None = None,
    order: str | None = None,
    stage_steps: int | None = None,
    stages: int | None = None,
    prune: str | None = None,
    density: float | None = None,
    prune_scope: str | None = None,
    mixed_with: str | None = None,
    batch_size: int | None = None,
    epochs: float | None = None,
    max_steps: int | None = None,
    learning_rate: float | str | None = None,
    warmup_ratio: float | None = None,
    weight_decay: float | None = None,
    max_length: int | None = None,
    precision: str | None = None,
    teacher: str | None = None,
    temperature: float | None = None,
    label_weight: float | None = None,
    logit_weight: float | None = None,
    hidden_weight: float | None = None,
    attention_weight: float | None = None,
    teacher_cache: bool = False,
    text_to_text: bool | None = None,
    new_head: bool | None = None,
    seed: int | None = None,
    seeds: str | None = None,
    device: str = "auto",
    gradient_checkpointing: bool = False,
    torch_compile: bool = False,
    report_to: str = "none",
    save_steps: int = 500,
    resume: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
    push_to_hub: bool = False,
    hub_model_id: str | None = None,
    private: bool | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train `model` (a directory or Hub id, dense or factorized) on a task and save the result to `output`.

    Args:
        model: Without it, the one on the Hub that the recipe `config` was made with, at the same commit.
        config: A recipe file, with how to factorize and, in its section `training`, how to train; arguments given here
            win over it. That of an export repeats its training.
        task: A GLUE task, its data from `data_dir` or the Hub (there from `data_revision`); or else `train` and
            `validation`, files.
        method, params, keep, rank and so on: As for `convert`; they factorize a dense model, by `schedule`. Without
            them a dense model stays dense.
        prune, density: Zero all but a share `density` of the targets' entries while training, by "movement",
            "taylor" or "magnitude". With a budget the sparse model is then factorized and trained by schedule
            mixed-rank (LPAF).
        mixed_with: For schedule mixed-rank of a factorized model, the dense (sparse) model that it was made from.
        limit: Only the first training examples.
        learning_rate: A rate, or "search" for the seed paper's six, an epoch each.
        teacher: A model (directory or Hub id) trained on the task, to learn from as well: its logits at `temperature`,
            its hidden states and, with an `attention_weight`, its attention, beside the labels.
        teacher_cache: Keep the teacher's outputs for the training data on disk, so that one pass serves every epoch and
            every run.
        seeds: "1-6": a run each, exported to `output`/seed-1 and so on; until the last is done, to `output`-seeds.
        resume: Continue the run that left `output`-checkpoints (with seeds `output`-seeds) from its last whole
            checkpoint.
        push_to_hub: Publish the result as `hub_model_id` (see `factcli.push`); whether that is allowed is asked before
            the training.
        watch: Called with every Event of the run.

    Returns:
        The result object of the command's --json. `failed_run` says that the accuracy on the validation data is at or
        below `majority`: that of always answering the training set's commonest label (seed paper, section 3; for lists
        of labels the same of micro-F1 and each label's commoner value). With `seeds`, an object with `runs` (one such
        object each) and `summary`.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, a training that diverges included.
    """
    check_values(asked := dict(locals()))
    refuse_idle(PUBLISHING, asked, given(asked))
    flags = {
        "method": method, "params": params, "keep": keep, "rank": rank, "blocks": blocks, "force_rank": force_rank,
        "criterion": criterion, "allocation": allocation, "include": include, "exclude": exclude,
    }  # fmt: skip
    how = {
        "schedule": schedule, "order": order, "stage_steps": stage_steps, "stages": stages,
        "batch_size": batch_size, "epochs": epochs, "max_steps": max_steps, "learning_rate": learning_rate,
        "warmup_ratio": warmup_ratio, "weight_decay": weight_decay, "max_length": max_length,
        "precision": precision, "text_to_text": text_to_text, "task": task, "data_revision": data_revision,
        "text_column": text_column, "label_column": label_column, "label_names": label_names, "limit": limit,
        "new_head": new_head, "seed": seed, "teacher": teacher, "temperature": temperature,
        "label_weight": label_weight, "logit_weight": logit_weight, "hidden_weight": hidden_weight,
        "attention_weight": attention_weight, "prune": prune, "density": density, "prune_scope": prune_scope,
        "mixed_with": mixed_with,
    }  # fmt: skip
    if epochs is not None and max_steps is not None:
        raise UsageError("Give --epochs or --max-steps, not both.")
    settings = make_settings(config, how)
    check_reporter(report_to)
    if save_steps < 0:
        raise UsageError("--save-steps is the steps between checkpoints, or 0 for none.")
    if seeds is not None and seed is not None:
        raise UsageError("Give --seed or --seeds, not both.")
    if teacher_cache and settings.teacher is None:
        raise UsageError("--teacher-cache is for --teacher: give both.")
    seed_list = parse_seeds(seeds) if seeds is not None else [settings.seed]
    several = seeds is not None
    if several and push_to_hub:
        raise UsageError("--push-to-hub publishes one model: give --seed, not --seeds.")
    if settings.schedule is not None:
        schedules[settings.schedule]
    recipe = _recipe(config, flags, dtype, settings)
    dtype = dtype or (read_recipe(config).get("dtype") if config is not None else None)
    dtype = parse_dtype(dtype) if dtype is not None else None
    lpaf = settings.prune is not None and recipe is not None
    if lpaf:
        _check_phases(settings, several)
    if settings.prune is not None and recipe is None:
        settings = replace(
            settings,
            prune_include=settings.prune_include if include is None else tuple(include),
            prune_exclude=settings.prune_exclude if exclude is None else tuple(exclude),
        )
    where = pick_device(device)
    settings = replace(settings, precision="bfloat16" if in_bfloat16(settings.precision, where) else "float32")
    if model is None:
        model, revision = source_of_recipe(config, revision), None
    source = find_source(model, revision, trust_remote_code, accept_factorized=True)
    taken = look_at_files(source)
    if source.factorized:
        _check_factorized(source, recipe, given(flags), config, settings)
        recipe = None
    elif recipe is None and settings.schedule is not None:
        raise UsageError("--schedule is for factorizing: give --method and a budget with it.")
    if settings.pruning is not None:
        include, exclude = settings.prune_include, settings.prune_exclude
        if recipe is not None:
            include, exclude = recipe.include, recipe.exclude
        targets = find_targets(source.outline.model.base_model, include, exclude)
        settings.pruning.check([t.size for t in targets if t.kept is None])
    settings = replace(settings, schedule=schedule_of(source, settings, recipe))
    chosen = _task(settings, task, train, validation)
    refuse_idle(
        RULES,
        asdict(settings) | {
            "task": None if chosen.files else chosen.name, "regression": chosen.regression, "data_dir": data_dir,
            "calibration": recipe.calibration if recipe and criteria[recipe.criterion].needs else None,
        },
        given({**how, **asked, "model": model if source.factorized else None}), str(config), read_settings(config),
    )  # fmt: skip
    folder = Path(output) if output is not None else Path(_default_output(source, chosen, recipe))
    read = inputs(
        ("the source", model), ("the teacher", settings.teacher), ("--mixed-with", settings.mixed_with),
        ("--data-dir", data_dir), ("the training file", train), ("the validation file", validation),
        ("--calibration", recipe.calibration if recipe else None), ("the recipe", config),
    )  # fmt: skip
    beside = (SEEDS,) if several else (CHECKPOINTS, PHASES) if lpaf else (CHECKPOINTS,)
    place = Output(folder, overwrite, read, beside)
    with place.held() if is_main() else nullcontext():
        for name in beside if is_main() and not resume else ():
            check_clear(place.beside(name), overwrite)
        publishing = Publishing.asked(push_to_hub and is_main(), hub_model_id, private, folder)
        commit = data_commit(chosen, data_dir, settings.data_revision)
        on_hub = not chosen.files and data_dir is None
        settings = replace(
            settings,
            task=None if chosen.files else chosen.name,
            data_revision=(commit or settings.data_revision) if on_hub else None,
        )
        train_data = load_split(chosen, "train", data_dir, settings.limit, commit)
        validation_data = load_split(chosen, None, data_dir, revision=commit)
        job = prepare(source, chosen, settings, train_data, validation_data)
        job = replace(job, data_dir=data_dir, trust_remote_code=trust_remote_code, dtype=dtype)
        run = RunOptions(
            where, save_steps, resume, gradient_checkpointing, torch_compile, report_to, place.beside("runs"),
            teacher_cache,
        )  # fmt: skip
        told = watch or (lambda event: None)
        for sentence in taken.notes():
            note(sentence)
        if lpaf:
            job = replace(job, recipe=recipe)
            result = prune_and_factorize(job, train_data, validation_data, place, run, told)
        else:
            job = planned(job, recipe, where)
            runner = Runner(job, equipped(job, run), told)
            if several:
                return runner.many(place, seed_list)
            result = runner.one(place, seed_list[0])
    return result | {"pushed": publishing.publish(place.given)} if publishing else result


def _recipe(config: str | Path | None, flags: Values, dtype: str | None, settings: Settings) -> Recipe | None:
    """The recipe of the factorization; None where neither options nor file ask for one; patterns may be for pruning."""
    asked = given(flags) | (read_recipe(config).keys() - {"dtype", "seed"} if config is not None else set())
    if settings.prune is not None:
        asked -= {"include", "exclude"}
    if not asked:
        return None
    recipe = make_recipe(config, {**flags, "dtype": dtype})
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
    if settings.schedule not in (None, "mixed-rank") or settings.mixed_with is not None:
        raise UsageError(
            "--prune with a budget trains by schedule mixed-rank, with the model that it pruned: leave out "
            "--schedule and --mixed-with."
        )


def _check_factorized(
    source: Source, recipe: Recipe | None, flags: set[str], config: str | Path | None, settings: Settings
) -> None:
    """Raises UsageError where a model that is factorized is to be factorized or pruned; its own recipe may be given."""
    if settings.prune is not None:
        raise UsageError(f"{source.name} is factorized already: --prune needs the dense model it came from.")
    own = source.path / FILE_NAME
    known = recorded_recipe(own).to_dict() if own.is_file() else None
    repeated = not flags and config is not None and recorded_recipe(Path(config)).to_dict() == known
    if (recipe is not None and not repeated) or settings.schedule not in (None, "direct", "mixed-rank"):
        raise UsageError(
            f"{source.name} is factorized already: leave out --method, the budget and --schedule, or start from the "
            "dense model it came from."
        )


def _task(settings: Settings, asked: str | None, train_file: str | Path | None, validation: str | Path | None) -> Task:
    """The user's files, or the task of GLUE; one of a recipe gives way to files."""
    if train_file is None and validation is None and settings.task is not None:
        return GLUE[settings.task]
    if asked is not None:
        raise UsageError("Give either --task, for GLUE, or --train and --validation.")
    if train_file is None or validation is None:
        raise UsageError("Give --task, for GLUE, or both --train FILE and --validation FILE.")
    files = {"train": train_file, "validation": validation}
    return user_task(
        files, settings.text_column, settings.label_column, settings.label_names, numbered=bool(settings.label_names)
    )


def _default_output(source: Source, task: Task, recipe: Recipe | None) -> str:
    name = source.provenance()["model"].split("/")[-1]
    return "-".join([name, *([recipe.method] if recipe else []), task.name]).replace(".", "_")
