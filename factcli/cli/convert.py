"""factcli convert."""

from . import console
from . import options as o


def command(
    model: o.RecipeModelArgument = None,
    output: o.OutputOption = None,
    method: o.MethodOption = None,
    params: o.ParamsOption = None,
    keep: o.KeepOption = None,
    rank: o.RankOption = None,
    blocks: o.BlocksOption = None,
    force_rank: o.ForceRankOption = False,
    criterion: o.CriterionOption = None,
    sparsity: o.SparsityOption = None,
    compensation: o.CompensationOption = None,
    allocation: o.AllocationOption = None,
    rank_multiple: o.MultipleOption = None,
    calibration: o.CalibrationOption = None,
    calibration_samples: o.SamplesOption = None,
    data_revision: o.DataRevisionOption = None,
    max_length: o.CalibrationLengthOption = None,
    fisher: o.FisherOption = None,
    text_column: o.TextColumnOption = None,
    label_column: o.CalibrationLabelOption = None,
    data_dir: o.DataDirOption = None,
    include: o.IncludeOption = None,
    exclude: o.ExcludeOption = None,
    config: o.ConfigOption = None,
    revision: o.RevisionOption = None,
    trust_remote_code: o.TrustOption = False,
    dtype: o.DtypeOption = None,
    device: o.DeviceOption = "auto",
    seed: o.SeedOption = None,
    overwrite: o.OverwriteOption = False,
    push_to_hub: o.PushOption = False,
    hub_model_id: o.HubIdOption = None,
    private: o.PrivateOption = None,
    dry_run: o.DryRunOption = False,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Replace a model's weight matrices by structured products under a budget, and save the result."""
    with console.importing():
        from ..conversion import convert

        console.quiet_libraries(verbose, bars=not (quiet or as_json))
    with console.progress("Factorizing", not (quiet or as_json or dry_run)) as progress:
        result = convert(
            model, output, config=config, method=method, params=params, keep=keep, rank=rank, blocks=blocks,
            force_rank=force_rank, criterion=criterion, sparsity=sparsity,
            compensation=compensation, allocation=allocation,
            rank_multiple=rank_multiple, calibration=calibration, calibration_samples=calibration_samples,
            data_revision=data_revision, max_length=max_length, fisher=fisher, text_column=text_column or (),
            label_column=label_column, data_dir=data_dir, include=include or (), exclude=exclude or (),
            revision=revision, trust_remote_code=trust_remote_code, dtype=dtype, device=device, seed=seed,
            overwrite=overwrite, push_to_hub=push_to_hub, hub_model_id=hub_model_id, private=private, dry_run=dry_run,
            progress=progress,
        )  # fmt: skip
    for text in result.get("notes", ()):
        console.note(text)
    if as_json:
        console.result(result)
        return
    from .tables import plan_table, totals

    if dry_run:
        plan_table(result)
    elif not quiet:
        totals(result)
        console.note(f"Relative error {result['error']:.4f}; {result['seconds']} s.")
    if not dry_run:
        console.line(result["output"])
    if result.get("pushed"):
        console.pushed(result["pushed"], quiet)
