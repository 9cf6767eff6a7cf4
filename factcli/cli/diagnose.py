"""factcli diagnose."""

from typing import Annotated

import typer

from . import console
from . import options as o

PlotOption = Annotated[
    str | None, typer.Option("--plot", help="Error against rank for every layer, as .png, .svg or .pdf.")
]


def command(
    model: o.ModelArgument,
    calibration: o.CalibrationOption = None,
    calibration_samples: o.SamplesOption = None,
    max_length: o.CalibrationLengthOption = None,
    fisher: o.FisherOption = None,
    text_column: o.TextColumnOption = None,
    label_column: o.CalibrationLabelOption = None,
    data_dir: o.DataDirOption = None,
    include: o.IncludeOption = None,
    exclude: o.ExcludeOption = None,
    plot: PlotOption = None,
    revision: o.RevisionOption = None,
    trust_remote_code: o.TrustOption = False,
    device: o.DeviceOption = "auto",
    seed: o.SeedOption = None,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Show how compressible a model is, layer by layer, and whether plain SVD will fail."""
    with console.importing():
        from ..diagnosis import diagnose

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("Examining", not (quiet or as_json)) as progress:
        result = diagnose(
            model, calibration=calibration, calibration_samples=calibration_samples or 512,
            max_length=max_length, fisher=fisher or "sampled", text_column=text_column or (),
            label_column=label_column or "label", data_dir=data_dir, include=include or (), exclude=exclude or (),
            plot=plot, revision=revision, trust_remote_code=trust_remote_code, device=device, seed=seed or 0,
            progress=progress,
        )  # fmt: skip
    for text in result.get("notes", ()):
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .tables import diagnosis

    diagnosis(result)
