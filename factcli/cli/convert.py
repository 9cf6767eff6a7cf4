"""factcli convert."""

from . import console
from . import options as o


def command(
    model: o.ModelArgument,
    output: o.OutputOption = None,
    method: o.MethodOption = None,
    params: o.ParamsOption = None,
    keep: o.KeepOption = None,
    rank: o.RankOption = None,
    blocks: o.BlocksOption = None,
    force_rank: o.ForceRankOption = False,
    criterion: o.CriterionOption = None,
    allocation: o.AllocationOption = None,
    include: o.IncludeOption = None,
    exclude: o.ExcludeOption = None,
    config: o.ConfigOption = None,
    revision: o.RevisionOption = None,
    trust_remote_code: o.TrustOption = False,
    dtype: o.DtypeOption = None,
    device: o.DeviceOption = "auto",
    seed: o.SeedOption = None,
    overwrite: o.OverwriteOption = False,
    dry_run: o.DryRunOption = False,
    as_json: o.JsonOption = False,
    quiet: o.QuietOption = False,
    verbose: o.VerboseOption = False,
) -> None:
    """Replace a model's weight matrices by structured products under a budget, and save the result."""
    with console.importing():
        from ..conversion import convert

        console.quiet_libraries(verbose)
    with console.progress("Factorizing", not (quiet or as_json or dry_run)) as progress:
        result = convert(
            model, output, config=config, method=method, params=params, keep=keep, rank=rank, blocks=blocks,
            force_rank=force_rank, criterion=criterion, allocation=allocation, include=include or (),
            exclude=exclude or (), revision=revision, trust_remote_code=trust_remote_code, dtype=dtype, device=device,
            seed=seed, overwrite=overwrite, dry_run=dry_run, progress=progress,
        )  # fmt: skip
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
