"""finetune: train a model on a task, factorizing it at once, in stages, or not at all."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..compress.allocations import allocations
from ..compress.criteria import criteria
from ..compress.measured import Measured
from ..compress.plan import Budget
from ..conversion import pick_device, plan_for
from ..directory import check_output
from ..errors import UsageError
from ..hub.publish import Publishing
from ..recipe.old_recipe import Recipe, make_recipe, read_recipe
from ..source import Source, find_source, load_meta
from ..targets import find_targets
from ..tasks import GLUE, Task, data_commit, load_split, user_task
from .calibrating import has_new_head, measured_now
from .distillation import Teacher, Weights, load_teacher
from .events import Watch
from .job import Job, build_model, existing_plan, prepare
from .mixed import Matrices, load_matrices
from .phases import prune_and_factorize
from .run import Options, check_reporter, in_bfloat16, is_main, processes
from .runner import Runner
from .schedules import default_schedule, schedules
from .settings import Settings, make_settings, parse_seeds
from .teacher_cache import cached


def finetune(
    model: str,
    output: str | Path | None = None,
    *,
    task: str | None = None,
    data_dir: str | Path | None = None,
    data_revision: str | None = None,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    text_column: Sequence[str] = (),
    label_column: str = "label",
    label_names: Sequence[str] = (),
    limit: int | None = None,
    config: str | Path | None = None,
    method: str | None = None,
    params: str | int | None = None,
    keep: float | None = None,
    rank: int | None = None,
    blocks: int | None = None,
    force_rank: bool = False,
    criterion: str | None = None,
    allocation: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
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
    text_to_text: bool = False,
    new_head: bool = False,
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
        seeds: "1-6": a run each, exported to `output`/seed-1 and so on.
        resume: Continue the run that left `output`-checkpoints from its last whole checkpoint.
        push_to_hub: Publish the result as `hub_model_id` (see `factcli.push`); whether that is allowed is asked before
            the training.
        watch: Called with every Event of the run.

    Returns:
        The result object of the command's --json. `failed_run` says that the accuracy on the validation data is at or
        below `majority`: that of always answering the training set's commonest label (seed paper, section 3). With
        `seeds`, an object with `runs` (one such object each) and `summary`.

    Raises:
        UsageError: Options that do not fit together.
        FactcliError: Anything else that a user can put right, a training that diverges included.
    """
    flags = {
        "method": method, "params": params, "keep": keep, "rank": rank, "blocks": blocks, "force_rank": force_rank,
        "criterion": criterion, "allocation": allocation, "include": tuple(include), "exclude": tuple(exclude),
    }  # fmt: skip
    settings = make_settings(
        config,
        {
            "schedule": schedule, "order": order, "stage_steps": stage_steps, "stages": stages,
            "batch_size": batch_size, "epochs": epochs, "max_steps": max_steps, "learning_rate": learning_rate,
            "warmup_ratio": warmup_ratio, "weight_decay": weight_decay, "max_length": max_length,
            "precision": precision, "text_to_text": text_to_text or None, "task": task,
            "data_revision": data_revision, "seed": seed, "teacher": teacher, "temperature": temperature,
            "label_weight": label_weight, "logit_weight": logit_weight, "hidden_weight": hidden_weight,
            "attention_weight": attention_weight, "prune": prune, "density": density, "prune_scope": prune_scope,
            "mixed_with": mixed_with,
        },
    )  # fmt: skip
    check_reporter(report_to)
    if save_steps < 0:
        raise UsageError("--save-steps is the steps between checkpoints, or 0 for none.")
    seed_list = parse_seeds(seeds) if seeds is not None else [settings.seed]
    if seeds is not None and seed is not None:
        raise UsageError("Give --seed or --seeds, not both.")
    recipe = _recipe(config, flags, dtype, settings)
    patterns = (tuple(include) or settings.prune_include, tuple(exclude) or settings.prune_exclude)
    if recipe is not None:
        patterns = (recipe.include, recipe.exclude)
    elif settings.prune is not None:
        settings = replace(settings, prune_include=patterns[0], prune_exclude=patterns[1])
    if settings.schedule is not None:
        schedules[settings.schedule]
    where = pick_device(device)
    in_bfloat16(settings.precision, where)  # refused here if need be
    source = find_source(model, revision, trust_remote_code, accept_factorized=True)
    if settings.pruning is not None:
        if source.factorized:
            raise UsageError(f"{model} is factorized already: --prune needs the dense model it came from.")
        targets = find_targets(load_meta(source).base_model, *patterns)
        settings.pruning.check([t.size for t in targets if t.kept is None])
    if source.factorized and (recipe is not None or settings.schedule not in (None, "direct", "mixed-rank")):
        raise UsageError(
            f"{model} is factorized already: leave out --method, the budget and --schedule, or start from the dense "
            "model it came from."
        )
    chosen = _task(
        task if train or validation else settings.task, train, validation, text_column, label_column, label_names
    )
    folder = Path(output) if output is not None else Path(_default_output(source, chosen, recipe))
    several = seeds is not None
    if several and push_to_hub:
        raise UsageError("--push-to-hub publishes one model: give --seed, not --seeds.")
    if not (several and resume):
        check_output(folder, overwrite)
    publishing = Publishing.asked(push_to_hub and is_main(), hub_model_id, private, folder)
    commit = data_commit(chosen, data_dir, settings.data_revision)
    settings = replace(
        settings, task=None if chosen.files else chosen.name, data_revision=commit or settings.data_revision
    )
    train_data = load_split(chosen, "train", data_dir, limit, commit)
    validation_data = load_split(chosen, None, data_dir, revision=commit)
    job = prepare(source, chosen, settings, train_data, validation_data, new_head, list(label_names))
    if settings.prune is not None and recipe is not None:
        if several:
            raise UsageError("--prune with a budget makes one model: give --seed, not --seeds.")
        if processes() > 1:
            raise UsageError("--prune with a budget runs in one process: give its three phases as three commands.")
        if settings.schedule not in (None, "mixed-rank") or settings.mixed_with is not None:
            raise UsageError(
                "--prune with a budget trains by schedule mixed-rank, with the model that it pruned: leave out "
                "--schedule and --mixed-with."
            )
        rest = {
            "task": task, "data_dir": data_dir, "train": train, "validation": validation, "text_column": text_column,
            "label_column": label_column, "label_names": label_names, "limit": limit, "device": device,
            "gradient_checkpointing": gradient_checkpointing, "torch_compile": torch_compile, "report_to": report_to,
            "save_steps": save_steps, "trust_remote_code": trust_remote_code, "watch": watch,
            "teacher_cache": teacher_cache,
        }  # fmt: skip
        settings = replace(settings, schedule="mixed-rank")
        result = prune_and_factorize(
            replace(job, recipe=recipe, settings=settings), folder, rest, new_head, resume, overwrite
        )
        return result | {"pushed": publishing.publish(folder)} if publishing else result
    job = _planned(replace(job, data_dir=data_dir), recipe, where)
    taught_by = _teacher(job, trust_remote_code, where if teacher_cache else None)
    options = Options(
        where, save_steps=save_steps, resume=resume, gradient_checkpointing=gradient_checkpointing,
        torch_compile=torch_compile, report_to=report_to, reports=folder.with_name(f"{folder.name}-runs"),
        teacher=taught_by, matrices=_matrices(job, trust_remote_code),
    )  # fmt: skip
    run = Runner(job, options, watch or (lambda event: None), overwrite)
    if several:
        return run.many(folder, seed_list)
    result = run.one(folder, seed_list[0])
    return result | {"pushed": publishing.publish(folder)} if publishing else result


def _recipe(config: str | Path | None, flags: dict[str, Any], dtype: str | None, settings: Settings) -> Recipe | None:
    """The recipe of the factorization; None where neither options nor file ask for one; patterns may be for pruning."""
    given = {k for k, v in flags.items() if v not in (None, (), False)}
    from_file = read_recipe(config) if config is not None else {}
    if settings.prune is not None:
        given -= {"include", "exclude"}
    if not given and not from_file.keys() & {"method", "params", "keep", "rank"}:
        return None
    recipe = make_recipe(config, flags | {"dtype": dtype})
    Budget(recipe.params, recipe.keep, recipe.rank)  # refused here if it is not exactly one
    return recipe


def _task(
    name: str | None,
    train_file: str | Path | None,
    validation: str | Path | None,
    text_column: Sequence[str],
    label_column: str,
    label_names: Sequence[str],
) -> Task:
    if name is not None:
        if train_file is not None or validation is not None:
            raise UsageError("Give either --task, for GLUE, or --train and --validation.")
        return GLUE[name]
    if train_file is None or validation is None:
        raise UsageError("Give --task, for GLUE, or both --train FILE and --validation FILE.")
    files = {"train": train_file, "validation": validation}
    return user_task(files, text_column, label_column, label_names)


def _teacher(job: Job, trust_remote_code: bool, caching_on: torch.device | None) -> Teacher | None:
    settings = job.settings
    if settings.teacher is None:
        if caching_on is not None:
            raise UsageError("--teacher-cache is for --teacher: give both.")
        return None
    weights = Weights(
        settings.temperature, settings.label_weight, settings.logit_weight, settings.hidden_weight,
        settings.attention_weight,
    )  # fmt: skip
    source, teacher = load_teacher(job, settings.teacher, weights, trust_remote_code)
    return teacher if caching_on is None else cached(teacher, source, job, caching_on)


def _matrices(job: Job, trust_remote_code: bool) -> Matrices | None:
    """What mixed-rank training mixes with: a dense source with itself."""
    if job.settings.schedule != "mixed-rank":
        if job.settings.mixed_with is not None:
            raise UsageError("--mixed-with is for --schedule mixed-rank.")
        return None
    name = job.settings.mixed_with or (None if job.source.factorized else job.source.reference)
    if name is None:
        raise UsageError("--schedule mixed-rank needs --mixed-with, the dense model that was factorized.")
    assert job.plan is not None
    return load_matrices(name, list(job.plan.factorized), trust_remote_code)


def _planned(job: Job, recipe: Recipe | None, device: torch.device) -> Job:
    """The job with its plan and its schedule resolved."""
    settings: Settings = job.settings
    if job.source.factorized:
        plan, made = existing_plan(job.source)
        return replace(job, plan=plan, recipe=made, settings=replace(settings, schedule=settings.schedule or "direct"))
    if recipe is None:
        if settings.schedule is not None:
            raise UsageError("--schedule is for factorizing: give --method and a budget with it.")
        return job
    settings = replace(settings, schedule=settings.schedule or default_schedule(recipe.method))
    planned = replace(job, recipe=recipe, settings=settings)
    if allocations[recipe.allocation].needs_gains:
        loaded = build_model(planned)
        measured = measured_now(planned, loaded.model, device, None, has_new_head(planned, loaded))
        plan = plan_for(
            job.source, recipe, loaded, measured or Measured(criteria[recipe.criterion].made(recipe)), device
        )
    else:
        plan = plan_for(job.source, recipe)
    planned = replace(planned, plan=plan)
    assert planned.plan is not None
    assert settings.schedule is not None
    schedules[settings.schedule]().stages(planned.plan.factorized, settings.stage_options)  # refused here if need be
    return planned


def _default_output(source: Source, task: Task, recipe: Recipe | None) -> str:
    name = source.provenance()["model"].split("/")[-1]
    return "-".join([name, *([recipe.method] if recipe else []), task.name]).replace(".", "_")
