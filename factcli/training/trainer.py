"""transformers.Trainer with three things more: layers factorized between steps, checkpoints that carry their code, and
an order of examples that a resumed run repeats."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from .. import remote_code
from ..compress.factorize import factorize
from ..errors import Lacking, UsageError
from ..files.atomic import write_json
from ..models.export import auto_map
from ..models.fit import IGNORED
from ..models.targets import matrix
from .best import TIMES, Best
from .calibrating import measured_now
from .distillation import Teacher, distillation_loss, share
from .events import Event, Watch
from .healing import healing_loss
from .job import Job
from .mixed import MixedRank, consistency_loss
from .pruning import Pruner
from .schedules import Stage


@contextmanager
def without_autocast(model: Any) -> Iterator[None]:
    """Trainer puts bfloat16 autocast around `forward`; what is measured is the model as it will be saved."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


class LengthGroups(Sampler[int]):
    """Examples of like length together, batches in random order; each epoch's order follows from seed and epoch
    alone, so that a resumed run sees what an uninterrupted one sees."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch())
        grouped: Any = get_length_grouped_indices
        return iter(grouped(self.lengths, self.batch_size, generator=generator))


class StagedTrainer(Trainer):
    """Trains the model of a job through its stages.

    Stages that begin with step 0 are done before training; `done` are those that the model has already. `measure` gives
    the metrics of the validation data, in the main process. `new_head`: the head of `model` was never trained.
    `teacher` is a model to learn from, beside the labels or alone.
    """

    def __init__(
        self,
        job: Job,
        args: TrainingArguments,
        model: Any,
        collator: Any,
        stages: tuple[Stage, ...],
        done: int,
        measure: Callable[[Any], dict[str, float]],
        watch: Watch,
        new_head: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        self.job, self.stages, self.stages_done, self._measure, self._watch = job, stages, done, measure, watch
        self.network: Any = model  # what Trainer calls `model`, which it may wrap
        self.diverged = False
        self.new_head, self.teacher = new_head, teacher
        self.pruner: Pruner | None = None
        self.density = 1.0
        self.mixed: MixedRank | None = None
        self.best: Best | None = None
        self.main_steps_from = stages[-1].step if stages else 0
        super().__init__(
            model, args, data_collator=collator, train_dataset=job.train, callbacks=[_Stages(self)]
        )  # without the tokenizer, whose tokens it would put into the model's configuration
        self.remove_callback(PrinterCallback)  # stdout is for results
        if teacher is not None:
            teacher.to(args.device)
        self.begin_stages(0)

    # --- stages

    def begin_stages(self, step: int) -> None:
        """Factorize what is due before training step `step` and not done yet."""
        while self.stages_done < len(self.stages) and self.stages[self.stages_done].step <= step:
            stage = self.stages[self.stages_done]
            if not self._swap(stage):
                return
            self.stages_done += 1
            text = f"stage {self.stages_done} of {len(self.stages)}: {len(stage.layers)} matrices factorized"
            self.tell("stage", text)

    def _swap(self, stage: Stage) -> bool:
        recipe, base = self.job.recipe, self.network.base_model
        assert recipe is not None
        if not all(bool(torch.isfinite(matrix(base.get_submodule(x.name))).all()) for x in stage.layers):
            self.diverge()
            return False
        device = self.args.device if self.args.device.type != "mps" else torch.device("cpu")  # float64 is needed
        with without_autocast(self.network):
            measured = measured_now(self.job, self.network, device, stage.layers, self.new_head and stage.step == 0)
        factorize(self.network, stage.layers, recipe, device, measured=measured)
        entries = self.network.config.factorization["layers"]
        now = {layer.name: layer.to_json() for layer in stage.layers}
        self.network.config.factorization["layers"] = [now.get(entry["name"], entry) for entry in entries]
        if self.optimizer is not None:
            self._renew_optimizer()
            self._renew_wrapper()
        return True

    def _renew_optimizer(self) -> None:
        """The optimizer gets the new parameters and drops the old ones; what it knows of the others stays, and so does
        its place in the learning-rate schedule. The order is that of a new optimizer, for checkpoints."""
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        decayed = set(self.get_decay_parameter_names(self.network))
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        optimizer.param_groups[0]["params"] = [p for name, p in named if name in decayed]
        optimizer.param_groups[1]["params"] = [p for name, p in named if name not in decayed]
        alive = {p for _, p in named}
        for gone in [p for p in optimizer.state if p not in alive]:
            del optimizer.state[gone]

    def _renew_wrapper(self) -> None:
        """DistributedDataParallel averages the gradients of the parameters that it saw when it was made."""
        old = self.model_wrapped
        if isinstance(old, DistributedDataParallel):
            self.model_wrapped = DistributedDataParallel(
                self.network, device_ids=old.device_ids, output_device=old.output_device,
                find_unused_parameters=old.find_unused_parameters,
            )  # fmt: skip
            models = self.accelerator._models
            models[:] = [self.model_wrapped if m is old else m for m in models]
        elif old is not self.network and self.args.world_size > 1:
            wrapper = type(old).__name__
            raise UsageError(
                f"{wrapper} around the model, as accelerate was configured, keeps the matrices that stages "
                "replace: take --schedule direct."
            )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """As Trainer's, on the wrapper of the current stage."""
        return super().training_step(self.model_wrapped, inputs, num_items_in_batch)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As Trainer's; with a teacher the distillation loss, of a mixture also how far two passes disagree."""
        loss, output = self._loss(model, inputs, num_items_in_batch)
        weight = self.job.settings.consistency
        if self.mixed is not None and self.mixed.share > 0 and weight:
            again, second = self._loss(model, inputs, num_items_in_batch)
            task = self.job.task
            scored = self._scored(inputs)
            a, b = (o.logits if scored is None else o.logits[scored] for o in (output, second))
            apart = consistency_loss(a, b, task.regression, task.multi_label)
            loss = (loss + again) / 2 + weight * apart
        return (loss, output) if return_outputs else loss

    def _loss(self, model: Any, inputs: Any, num_items_in_batch: Any) -> Any:
        own = self.job.sigmoid or self.job.task.tagging
        if self.teacher is None and not own:
            return super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.teacher is None:
            output = self._answer(model, inputs, {})
            return output.loss, output
        recomputes = getattr(self.args, "activation_checkpointing", False) or self.args.gradient_checkpointing
        if self.job.purpose is not None and not recomputes:
            model.train(False)  # dropout is noise to who learns what a teacher says without any
        output = self._answer(model, inputs, self.teacher.wanted)
        with self.autocast_smart_context_manager():
            taught = self.teacher(inputs)
        mask, weights = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])), self.teacher.weights
        if self.job.purpose is not None:
            return healing_loss(self.job.purpose, output, taught, mask, weights), output
        task, scored = self.job.task, self._scored(inputs)
        return distillation_loss(output, taught, mask, weights, task.regression, task.multi_label, scored), output

    def _answer(self, model: Any, inputs: Any, wanted: dict[str, bool]) -> Any:
        """The output of the model, with the loss of the labels, if there are any."""
        if not self.job.sigmoid:
            output = model(**inputs, **wanted)
            if self.job.task.tagging and "labels" in inputs:
                output.loss = output.loss * share(inputs["labels"] != IGNORED)
            return output
        output = model(**{k: v for k, v in inputs.items() if k != "labels"}, **wanted)
        logits, labels = output.logits[:, 0].float(), inputs["labels"].float()
        output.loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return output

    def _scored(self, inputs: Any) -> torch.Tensor | None:
        """Where a tagger answers, (B, T); None for one answer an example."""
        return inputs["labels"] != IGNORED if self.job.task.tagging else None

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: Trainer's estimate knows dense layers only and costs time at every step."""
        return 0

    # --- data and measuring

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        lengths = [len(features["input_ids"]) for features in self.job.train]
        batch = self.args.per_device_train_batch_size * self.args.world_size
        per_epoch = -(-len(lengths) // batch)
        return LengthGroups(lengths, batch, self.args.seed, lambda: self.state.global_step // per_epoch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The validation metrics, measured by the main process."""
        metrics: dict[str, float] = {}
        if self.args.process_index == 0:
            with without_autocast(self.network):
                metrics = self._measure(self.network)
            self.tell("evaluation", "validation" if self.best is None else "held-out texts", metrics=metrics)
            if self.best is not None and self.stages_done == len(self.stages):
                self.best.offer(self.network, self.state.global_step, metrics)
        self.accelerator.wait_for_everyone()
        self.log({f"eval_{name}": value for name, value in metrics.items()})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def diverge(self) -> None:
        """The loss is not finite any more: stop."""
        self.diverged = True
        self.control.should_training_stop = True
        self.tell("failed", "the loss is not finite any more, so the run stops")

    @property
    def progress(self) -> dict[str, float]:
        """What changes along the steps, beside the loss."""
        shares = {"density": self.density} if self.pruner is not None else {}
        return shares | ({"matrices": self.mixed.share} if self.mixed is not None else {})

    def tell(
        self, kind: str, text: str = "", loss: float | None = None, metrics: dict[str, float] | None = None
    ) -> None:
        """An event for whoever watches; the main process speaks."""
        if self.args.process_index == 0:
            self._watch(
                Event(kind, text, self.state.global_step, self.args.max_steps, self.stages_done, len(self.stages), loss,
                      metrics or {})
            )  # fmt: skip

    # --- checkpoints

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or str(self.args.output_dir))
        if self.pruner is not None and self.args.should_save:
            self.pruner.save(folder)
        if self.best is not None and self.best.state and self.args.should_save:
            self.best.save(folder)
        if self.args.should_save:
            self.job.tokenizer.save_pretrained(folder)
        if not self.args.should_save or self.job.plan is None:
            return
        layer_file = self.job.plan.layer_file
        for file in remote_code.files_with(layer_file):
            shutil.copyfile(file, folder / file.name)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classes = auto_map(self.job.source.native_config_class, layer_file)
        write_json(folder / "config.json", config | {"auto_map": classes})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Lacking(
                f"The checkpoint {folder} cannot be written ({' '.join(str(error).split())[:150]}): free some space, "
                "then --resume continues from the one before."
            ) from error
        self.tell("checkpoint", f"checkpoint {folder.name}")


class _Stages(TrainerCallback):
    """Begins stages on time, stops a run that diverged, measures after each epoch of the main phase."""

    def __init__(self, trainer: StagedTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.begin_stages(state.global_step)
        if self.trainer.best is not None and state.global_step == self.trainer.main_steps_from:
            self.trainer.evaluate()  # what no training has made better or worse
        if self.trainer.mixed is not None:
            self.trainer.mixed.anneal(state.global_step, args.max_steps)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.trainer.pruner is not None:
            self.trainer.pruner.before_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.trainer.pruner is not None:
            self.trainer.density = self.trainer.pruner.after_step(state.global_step + 1, args.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.tell("step", metrics=self.trainer.progress)
        if self.trainer.best is not None and self._looks(args, state):
            control.should_evaluate = True
        saving = args.save_strategy == "steps" and state.global_step % args.save_steps == 0
        if saving or state.global_step in (args.max_steps, self.trainer.main_steps_from):
            control.should_log = True  # no loss is lost with a checkpoint, or counted for another phase

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.trainer.tell("loss", loss=loss)
        if not abs(loss) < float("inf"):
            self.trainer.diverge()

    def _looks(self, args: TrainingArguments, state: TrainerState) -> bool:
        """Whether the best state is looked for after this step: when the stages are done, some times, at the end."""
        since, done = state.global_step - self.trainer.main_steps_from, state.global_step == args.max_steps
        every = max(1, (args.max_steps - self.trainer.main_steps_from) // TIMES)
        return not self.trainer.diverged and since > 0 and (done or since % every == 0)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.trainer.best is not None:
            return
        if self.trainer.main_steps_from < state.global_step < args.max_steps and not self.trainer.diverged:
            control.should_evaluate = True
