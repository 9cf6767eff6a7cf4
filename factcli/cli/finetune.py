"""factcli finetune."""

from typing import Annotated

import typer

from . import console
from . import options as o

TRAINING, STAGES, TEACHER, RUN = "Training", "Stages", "Distillation", "Run"
PRUNING = "Pruning"


def command(
    model: o.RecipeModelArgument = None,
    output: o.OutputOption = None,
    task: o.TaskOption = None,
    data_dir: o.DataDirOption = None,
    data_revision: o.DataRevisionOption = None,
    train: Annotated[
        str | None,
        typer.Option("--train", help="Your training file: csv, tsv, JSON, parquet or arrow.", rich_help_panel=o.DATA),
    ] = None,
    validation: o.ValidationOption = None,
    text_column: o.TextColumnOption = None,
    label_column: o.LabelColumnOption = None,
    label_names: o.LabelNamesOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first training examples.", rich_help_panel=o.DATA)
    ] = None,
    config: o.ConfigOption = None,
    method: o.MethodOption = None,
    params: o.ParamsOption = None,
    keep: o.KeepOption = None,
    rank: o.RankOption = None,
    blocks: o.BlocksOption = None,
    force_rank: o.ForceRankOption = None,
    criterion: o.CriterionOption = None,
    allocation: o.AllocationOption = None,
    include: o.IncludeOption = None,
    exclude: o.ExcludeOption = None,
    dtype: o.DtypeOption = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            help="direct, staged (default for low-rank and pivoted) or mixed-rank.",
            rich_help_panel=STAGES,
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", help="high-to-low (default) or low-to-high.", rich_help_panel=STAGES)
    ] = None,
    stage_steps: Annotated[
        int | None, typer.Option("--stage-steps", help="Steps between stages; default 500.", rich_help_panel=STAGES)
    ] = None,
    stages: Annotated[
        int | None, typer.Option("--stages", help="Number of stages; default: one a block.", rich_help_panel=STAGES)
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option("--prune", help="movement, taylor or magnitude; with a budget, LPAF.", rich_help_panel=PRUNING),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option("--density", help="Share of the targets' entries that stays.", rich_help_panel=PRUNING),
    ] = None,
    prune_scope: Annotated[
        str | None, typer.Option("--prune-scope", help="matrix (default) or global.", rich_help_panel=PRUNING)
    ] = None,
    mixed_with: Annotated[
        str | None,
        typer.Option("--mixed-with", help="For mixed-rank: the model that was factorized.", rich_help_panel=PRUNING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Over all processes; default 32.", rich_help_panel=TRAINING),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="After the stages; default 5.", rich_help_panel=TRAINING)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="Instead of --epochs.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option("--learning-rate", help="Default 5e-5; 'search' tries six.", rich_help_panel=TRAINING),
    ] = None,
    warmup_ratio: Annotated[
        float | None, typer.Option("--warmup-ratio", help="Of all steps; default 0.06.", rich_help_panel=TRAINING)
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Default 0.01.", rich_help_panel=TRAINING)
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", help="Tokens of an example; default 128, or what fits.", rich_help_panel=TRAINING),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="float32 or bfloat16 (autocast); default: bfloat16 on a GPU.", rich_help_panel=TRAINING
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="A model trained on the task, to learn from too.", rich_help_panel=TEACHER),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of its logits; default 2.", rich_help_panel=TEACHER)
    ] = None,
    label_weight: Annotated[
        float | None, typer.Option("--label-weight", help="Of the labels' loss; default 1.", rich_help_panel=TEACHER)
    ] = None,
    logit_weight: Annotated[
        float | None, typer.Option("--logit-weight", help="Of its logits; default 1.", rich_help_panel=TEACHER)
    ] = None,
    hidden_weight: Annotated[
        float | None, typer.Option("--hidden-weight", help="Of its hidden states; default 1.", rich_help_panel=TEACHER)
    ] = None,
    attention_weight: Annotated[
        float | None, typer.Option("--attention-weight", help="Of its attention; default 0.", rich_help_panel=TEACHER)
    ] = None,
    teacher_cache: Annotated[
        bool,
        typer.Option(
            "--teacher-cache",
            help="Keep its outputs on disk: one pass for all epochs and runs.",
            rich_help_panel=TEACHER,
        ),
    ] = False,
    text_to_text: Annotated[
        bool | None, typer.Option("--text-to-text", help="Answer in words (T5).", rich_help_panel=TRAINING)
    ] = None,
    new_head: Annotated[
        bool | None, typer.Option("--new-head", help="Replace the head that the model has.", rich_help_panel=TRAINING)
    ] = None,
    seed: o.SeedOption = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="1-6 or 1,2,5: a run each, and a table.", rich_help_panel=TRAINING)
    ] = None,
    device: o.DeviceOption = "auto",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, slower.", rich_help_panel=RUN)
    ] = False,
    torch_compile: Annotated[
        bool, typer.Option("--torch-compile", help="Compile the model.", rich_help_panel=RUN)
    ] = False,
    report_to: Annotated[
        str, typer.Option("--report-to", help="none, tensorboard, trackio or wandb.", rich_help_panel=RUN)
    ] = "none",
    save_steps: Annotated[
        int, typer.Option("--save-steps", help="Steps between checkpoints, 0 for none.", rich_help_panel=RUN)
    ] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.", rich_help_panel=RUN)] = False,
    revision: o.RevisionOption = None,
    trust_remote_code: o.TrustOption = False,
    overwrite: o.OverwriteOption = False,
    push_to_hub: o.PushOption = False,
    hub_model_id: o.HubIdOption = None,
    private: o.PrivateOption = None,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Train a model on a task: dense in and factorized in stages, or factorized in and trained."""
    with console.importing():
        from ..training.finetune import finetune
        from ..training.run import is_main

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    from .watching import watching

    with watching(not (quiet or as_json)) as watch:
        result = finetune(
            model, output, task=task, data_dir=data_dir, data_revision=data_revision, train=train,
            validation=validation, text_column=text_column or None, label_column=label_column,
            label_names=o.names(label_names), limit=limit, config=config, method=method, params=params, keep=keep,
            rank=rank, blocks=blocks, force_rank=force_rank, criterion=criterion, allocation=allocation,
            include=include or None, exclude=exclude or None, dtype=dtype, schedule=schedule, order=order,
            stage_steps=stage_steps, stages=stages, prune=prune, density=density, prune_scope=prune_scope,
            mixed_with=mixed_with, batch_size=batch_size, epochs=epochs, max_steps=max_steps,
            learning_rate=learning_rate, warmup_ratio=warmup_ratio, weight_decay=weight_decay, max_length=max_length,
            precision=precision, teacher=teacher, temperature=temperature, label_weight=label_weight,
            logit_weight=logit_weight, hidden_weight=hidden_weight, attention_weight=attention_weight,
            teacher_cache=teacher_cache, text_to_text=text_to_text,
            new_head=new_head, seed=seed, seeds=seeds, device=device, gradient_checkpointing=gradient_checkpointing,
            torch_compile=torch_compile, report_to=report_to, save_steps=save_steps, resume=resume, revision=revision,
            trust_remote_code=trust_remote_code, overwrite=overwrite, push_to_hub=push_to_hub,
            hub_model_id=hub_model_id, private=private, watch=watch,
        )  # fmt: skip
    if not is_main():
        return
    if as_json:
        console.result(result)
        return
    from .scores import finetuned

    if not quiet:
        finetuned(result)
    console.line(result["output"])
    if result.get("pushed"):
        console.pushed(result["pushed"], quiet)
