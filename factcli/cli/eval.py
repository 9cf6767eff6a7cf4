"""factcli eval."""

from typing import Annotated

import typer

from . import console
from . import options as o


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Directories or Hub ids.")],
    task: o.TaskOption = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Default: the task's validation split.", rich_help_panel=o.DATA)
    ] = None,
    data_dir: o.DataDirOption = None,
    data_revision: o.DataRevisionOption = None,
    validation: o.ValidationOption = None,
    text_column: o.TextColumnOption = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column", help="Column of labels; default: as it was trained, or label.", rich_help_panel=o.DATA
        ),
    ] = None,
    label_names: o.LabelNamesOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first examples.", rich_help_panel=o.DATA)
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Examples at a time.")] = 32,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Tokens of an example; default: as it was trained, or 128.")
    ] = None,
    text_to_text: Annotated[
        bool | None, typer.Option("--text-to-text/--head", help="Answers in words; default: by the model.")
    ] = None,
    update_card: Annotated[bool, typer.Option("--update-card", help="Put the results into README.md.")] = False,
    device: o.DeviceOption = "auto",
    revision: o.RevisionOption = None,
    trust_remote_code: o.TrustOption = False,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Measure models on a GLUE task or your own file."""
    with console.importing():
        from ..evaluation import evaluate

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("Evaluating", not (quiet or as_json)) as progress:
        results = evaluate(
            models, task=task, split=split, data_dir=data_dir, data_revision=data_revision, validation=validation,
            text_column=text_column or None, label_column=label_column, label_names=o.names(label_names),
            batch_size=batch_size, max_length=max_length, limit=limit, device=device, revision=revision,
            trust_remote_code=trust_remote_code, text_to_text=text_to_text, update_card=update_card, progress=progress,
        )  # fmt: skip
    if as_json:
        console.result(results[0] if len(results) == 1 else results)
        return
    from .scores import evaluated

    evaluated(results)
