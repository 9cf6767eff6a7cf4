"""From what was asked for to a job that can run: its plan, its schedule, its teacher, the matrices to mix with."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..compress.allocations import allocations
from ..compress.criteria import criteria
from ..compress.measured import Measured
from ..compress.planning import plan_for
from ..errors import UsageError
from ..models.model import Model
from ..recipe.factorizing import Recipe
from ..recipe.running import Training
from ..recipe.training import Settings
from .calibrating import has_new_head, measured_now
from .distillation import Weights, load_teacher
from .held_out import HeldOut
from .job import Job, build_model, existing_plan
from .mixed import Matrices, load_matrices
from .run import Options
from .schedules import default_schedule, schedule_that, schedules
from .teacher_cache import cached


@dataclass(frozen=True)
class RunOptions:
    """How `finetune` was told to run, whatever it trains; `reports` is a folder."""

    device: torch.device
    how: Training
    reports: Path


def schedule_of(source: Model, settings: Settings, recipe: Recipe | None) -> str | None:
    """The schedule, resolved: None for a dense model that stays dense."""
    if settings.prune is not None and recipe is not None:
        return schedule_that(mixes=True)
    if settings.schedule is not None:
        return settings.schedule
    return schedule_that() if source.factorized else None if recipe is None else default_schedule(recipe.method)


def planned(job: Job, recipe: Recipe | None, device: torch.device) -> Job:
    """The job with its plan and its recipe; the schedule in its settings is resolved."""
    settings: Settings = job.settings
    if job.source.factorized:
        plan, made = existing_plan(job.source)
        return replace(job, plan=plan, recipe=made)
    if recipe is None:
        return job
    result = replace(job, recipe=recipe)
    shape = replace(job.source, weights=None)  # with the head that is trained, whatever the files hold
    if allocations[recipe.allocation].needs_gains:
        loaded = build_model(result)
        measured = measured_now(result, loaded.model, device, None, has_new_head(result, loaded))
        measured = measured or Measured(criteria[recipe.criterion].made(recipe))
        plan = plan_for(shape, recipe, loaded, measured, device)
    else:
        plan = plan_for(shape, recipe)
    assert settings.schedule is not None
    schedules[settings.schedule].made(settings).stages(plan.factorized)  # refused here if need be
    return replace(result, plan=plan)


def equipped(job: Job, run: RunOptions) -> Options:
    """The options of a run of this job, with its teacher and the matrices that it mixes with, loaded."""
    settings, teacher, held_out = job.settings, None, None
    if settings.teacher is not None:
        weights = Weights(
            settings.temperature, settings.label_weight, settings.logit_weight, settings.hidden_weight,
            settings.attention_weight,
        )  # fmt: skip
        source, teacher = load_teacher(job, settings.teacher, weights)
        held_out = HeldOut(job, teacher, run.device) if job.purpose is not None else None
        if run.how.teacher_cache:
            teacher = cached(teacher, source, job, run.device)
    return Options(
        run.device, run.how, reports=run.reports, teacher=teacher, matrices=_matrices(job), held_out=held_out
    )


def _matrices(job: Job) -> Matrices | None:
    """What mixed-rank training mixes with: a dense source with itself."""
    schedule = job.settings.schedule
    if schedule is None or not schedules[schedule].mixes:
        return None
    name = job.settings.mixed_with or (None if job.source.factorized else job.source.reference)
    if name is None:
        raise UsageError(f"--schedule {schedule} needs --mixed-with, the dense model that was factorized.")
    assert job.plan is not None
    return load_matrices(name, list(job.plan.factorized), job.trust_remote_code)
