"""One run: a job, a seed, a learning rate -> a trained model."""

import importlib.util
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from ..data.encoding import labels_of
from ..data.labels import by_class
from ..errors import FactcliError, Lacking, UsageError
from ..models.loading import Loaded
from ..models.memory import memory_advice
from ..models.targets import find_targets
from ..recipe.running import Training
from ..remote_code.modeling_factorized import swap_layers
from ..scores.evaluating import BATCH_SIZE, measure
from ..scores.metrics import compute_metrics
from .best import ABOUT, Best
from .calibrating import has_new_head
from .checkpoints import factorized_layers, last_checkpoint
from .distillation import Teacher
from .events import Event, Watch
from .held_out import HeldOut
from .job import Job, build_model
from .mixed import Matrices, MixedRank
from .pruning import Pruner
from .schedules import Stage, schedules
from .trainer import StagedTrainer

REPORTERS = ("none", "tensorboard", "trackio", "wandb")


@dataclass(frozen=True)
class Options:
    """How a run is run, and with what at hand. `checkpoints` is the folder of the run under way; `teacher` and
    `matrices` (to mix with) are those of the settings, loaded; `held_out` are the texts that say how near the teacher a
    model is that learns from it alone."""

    device: torch.device
    how: Training = field(default_factory=Training)
    checkpoints: Path | None = None
    reports: Path | None = None
    teacher: Teacher | None = None
    matrices: Matrices | None = None
    held_out: HeldOut | None = None


@dataclass
class Outcome:
    """A trained model. `losses` are (step, mean training loss since the last entry); `final_loss` is the mean over the
    main phase, infinite if the run diverged. `best` is the state that was kept of a run without labels."""

    loaded: Loaded
    steps: int
    losses: list[tuple[int, float]]
    final_loss: float
    diverged: bool
    best: Best | None = None


def processes() -> int:
    """Processes that train together, as torchrun or `accelerate launch` (on a CPU through MPI alone) set them up."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """True in the process that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def make_stages(job: Job) -> tuple[Stage, ...]:
    """The stages of a job; none where there is nothing (more) to factorize."""
    if job.plan is None or job.source.factorized:
        return ()
    assert job.settings.schedule is not None
    return schedules[job.settings.schedule].made(job.settings).stages(job.plan.factorized)


def steps_of(job: Job, epochs: float | None = None) -> int:
    """Training steps in all: those of the stages, then the main phase (`epochs` shortens it)."""
    stages = make_stages(job)
    per_epoch = math.ceil(len(job.train) / job.settings.batch_size)
    steps = job.settings.max_steps or math.ceil(job.settings.epochs * per_epoch)
    if epochs is not None:
        steps = min(steps, math.ceil(epochs * per_epoch))
    return (stages[-1].step if stages else 0) + steps


def train(
    job: Job, seed: int, learning_rate: float, options: Options, watch: Watch, epochs: float | None = None
) -> Outcome:
    """Train the model of `job`. Raises FactcliError for want of memory or disk."""
    stages, total = make_stages(job), steps_of(job, epochs)
    args = training_arguments(job, seed, learning_rate, total, options)
    set_seed(seed)
    loaded = build_model(job)
    checkpoint = None
    if options.how.resume and options.checkpoints is not None:
        checkpoint = last_checkpoint(options.checkpoints, processes())
    done = 0
    if checkpoint is not None:
        layers = factorized_layers(checkpoint)
        if stages:
            swap_layers(loaded.model.base_model, layers)
            loaded.model.config.factorization["layers"] = layers
            factorized = {layer["name"] for layer in layers if layer["structure"] != "dense"}
            done = sum(all(layer.name in factorized for layer in stage.layers) for stage in stages)
        if is_main():
            watch(Event("resume", f"resuming from {checkpoint.name}", int(checkpoint.name.rpartition("-")[2]), total))
    elif options.how.resume and is_main():
        watch(Event("resume", "no checkpoint yet: starting from the beginning", 0, total))
    trainer = StagedTrainer(
        job, args, loaded.model, job.fit.batch, stages, done, lambda model: measured(job, model, options), watch,
        has_new_head(job, loaded), options.teacher,
    )  # fmt: skip
    if options.held_out is not None:
        known = checkpoint is not None and (checkpoint / ABOUT).is_file()
        trainer.best = Best.load(checkpoint) if known and checkpoint is not None else Best()
    trainer.pruner, trainer.mixed = _pruner(job, loaded, checkpoint, args.device), _mixed(job, loaded, options)
    attention = loaded.model.config._attn_implementation
    if options.teacher is not None and options.teacher.weights.attention:
        loaded.model.set_attn_implementation("eager")  # the only one that gives its weights
    with memory_advice(job.settings.batch_size):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    loaded.model.set_attn_implementation(attention)
    if trainer.mixed is not None:
        trainer.mixed.detach()
    if trainer.best is not None and trainer.best.state and not trainer.diverged:
        trainer.best.restore(loaded.model)
    for wrapper in ("forward", "_original_forward"):  # autocast, of training only
        loaded.model.__dict__.pop(wrapper, None)
    losses = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    diverged = trainer.diverged or not all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())
    final = math.inf if diverged else _mean_loss(losses, trainer.main_steps_from)
    torch.nn.Module.to(loaded.model, "cpu" if options.device.type == "mps" else args.device)
    return Outcome(Loaded(loaded.model), trainer.state.global_step, losses, final, diverged, trainer.best)


def _pruner(job: Job, loaded: Loaded, checkpoint: Path | None, device: torch.device) -> Pruner | None:
    if job.settings.prune is None:
        return None
    base: Any = loaded.model.base_model
    torch.nn.Module.to(loaded.model, device)
    found = find_targets(base, job.settings.prune_include, job.settings.prune_exclude)
    targets = [t.name for t in found if t.kept is None]
    pruner = Pruner({name: base.get_submodule(name).weight for name in targets}, job.settings)
    if checkpoint is not None:
        pruner.load(checkpoint)
    return pruner


def _mixed(job: Job, loaded: Loaded, options: Options) -> MixedRank | None:
    if options.matrices is None:
        return None
    torch.nn.Module.to(loaded.model, options.device)
    base: Any = loaded.model.base_model
    return MixedRank(base, options.matrices, job.settings.mixed_start, job.settings.mixed_until)


def _mean_loss(losses: list[tuple[int, float]], since: int) -> float:
    """The mean over the steps after `since`, of means over runs of steps."""
    total = weight = 0.0
    before = 0
    for step, loss in losses:
        if step > since:
            total, weight = total + loss * (step - before), weight + step - before
        before = step
    return total / weight if weight else math.inf


def measured(job: Job, model: Any, options: Options) -> dict[str, float]:
    """What is measured of a model: the task's metrics, or how near it is to its teacher."""
    return validation_metrics(job, model) if options.held_out is None else options.held_out.measure(model)


def validation_metrics(job: Job, model: Any) -> dict[str, float]:
    """The task's metrics on the validation data; the same numbers as `factcli eval` gives."""
    predictions = measure(model, job.fit, job.task, job.validation_features, BATCH_SIZE, job.words)
    if not job.settings.text_to_text:
        predictions = by_class(job.task, job.outputs, predictions)
    return compute_metrics(job.task, labels_of(job.validation), predictions, job.validation_features)


def training_arguments(job: Job, seed: int, learning_rate: float, total: int, options: Options) -> TrainingArguments:
    """Trainer's arguments for a run of `total` steps."""
    settings, world = job.settings, processes()
    assert options.checkpoints is not None
    check_reporter(options.how.report_to)
    if options.how.report_to == "tensorboard" and options.reports is not None:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(options.reports))
    if options.device.type == "cuda" and options.device.index is not None and world == 1:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(options.device)
    on_gpu = options.device.type == "cuda"
    known = {f.name for f in fields(TrainingArguments)}
    recompute = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    values: dict[str, Any] = {
        "output_dir": str(options.checkpoints),
        "per_device_train_batch_size": settings.batch_size // world,
        "max_steps": total,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": math.ceil(settings.warmup_ratio * total),
        "weight_decay": settings.weight_decay,
        "seed": seed,
        "data_seed": seed,
        "use_cpu": options.device.type == "cpu",
        "ddp_backend": "gloo" if options.device.type == "cpu" and world > 1 else None,
        # Else the loss is taken times the processes, for models that divide it by the items of all of them: few do.
        "average_tokens_across_devices": False,
        "ddp_find_unused_parameters": job.purpose is not None,  # vectors need no pooler, hidden states no head
        "bf16": in_bfloat16(settings.precision, options.device),
        "optim": "adamw_torch_fused",
        recompute: options.how.gradient_checkpointing,
        "torch_compile": options.how.torch_compile,
        "save_strategy": "steps" if options.how.save_steps else "no",
        "save_steps": options.how.save_steps or 500,
        "save_total_limit": 2,  # should the newest be half written, there is the one before
        "logging_strategy": "steps",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "report_to": options.how.report_to,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_gpu,
    }
    args = TrainingArguments(**values)
    if args.device.type == "cuda" and args.n_gpu > 1:
        args._n_gpu = 1  # one process, one GPU: several are for torchrun
    return args


def in_bfloat16(precision: str | None, device: torch.device) -> bool:
    """Whether to train under bfloat16 autocast. Raises FactcliError where that is asked for and cannot be had."""
    has = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu"
    if precision == "bfloat16" and not has:
        raise FactcliError(f"--precision bfloat16 does not work on {device}: leave it out or take another --device.")
    return precision == "bfloat16" or (precision is None and has and device.type == "cuda")


def check_reporter(name: str) -> None:
    """Raises FactcliError for a reporter that is unknown or not installed."""
    if name not in REPORTERS:
        raise UsageError(f"--report-to {name!r} is unknown: take {', '.join(REPORTERS)}.")
    if name != "none" and importlib.util.find_spec(name) is None:
        raise Lacking(f"--report-to {name} needs a package: pip install {name}.")
