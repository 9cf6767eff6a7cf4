"""factcli bench."""

from typing import Annotated

import typer

from ..errors import UsageError
from . import console
from . import options as o

HOW = "How it is measured"


def command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Directories or Hub ids.")],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The model to compare with, measured in turns with the others.")
    ] = None,
    batch_size: Annotated[str, typer.Option("--batch-size", help="One or several: 1,8,32.")] = "1",
    sequence_length: Annotated[str, typer.Option("--sequence-length", help="Tokens; one or several.")] = "128",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", help="rounds, or paper: 100 examples, 8 runs, the first two omitted.", rich_help_panel=HOW
        ),
    ] = "rounds",
    variant: Annotated[
        str, typer.Option("--variant", help="Of eager, compile and cuda-graphs: eager,compile.", rich_help_panel=HOW)
    ] = "eager",
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="Time for the rounds of all cells; default 60.", rich_help_panel=HOW),
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", help="As many rounds a cell, however long.", rich_help_panel=HOW)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, float16 or bfloat16; default: each model's own.", rich_help_panel=HOW),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Of torch on the CPU; default: torch's own.", rich_help_panel=HOW)
    ] = None,
    device: o.DeviceOption = "auto",
    plot: Annotated[
        str | None,
        typer.Option("--plot", help="Latency and accuracy against parameters; .png or .svg, both are written."),
    ] = None,
    update_card: Annotated[bool, typer.Option("--update-card", help="Put the speed into README.md.")] = False,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Measure latency, memory, FLOPs and size of models, as ratios to a baseline."""
    sizes = {
        "batch_size": numbers("--batch-size", batch_size),
        "sequence_length": numbers("--sequence-length", sequence_length),
    }
    with console.importing():
        from ..benchmarking.bench import bench

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("Measuring", not (quiet or as_json)) as progress:
        result = bench(
            models, baseline=baseline, **sizes, protocol=protocol, variant=o.names(variant) or [], seconds=seconds,
            runs=runs, dtype=dtype, threads=threads, device=device, plot=plot, update_card=update_card,
            progress=progress,
        )  # fmt: skip
    for text in result["notes"]:
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .costs import measured

    measured(result)


def numbers(option: str, text: str) -> list[int]:
    """ "1,8,32" -> the numbers. Raises UsageError where one is none."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a list of whole numbers such as 1,8,32.") from error
