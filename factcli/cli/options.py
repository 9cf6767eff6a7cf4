"""Options that several commands share."""

from typing import Annotated

import typer

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A directory or Hub id; id@revision pins it.")]
RecipeModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A directory or Hub id; default: the one that the recipe was made with."),
]
OutputOption = Annotated[str | None, typer.Option("--output", "-o", help="Directory to write.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
ConfigOption = Annotated[str | None, typer.Option("--config", "-c", help="A recipe (YAML); options win over it.")]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the Hub.")]
TrustOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code of the source, and take it along.")]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="float32, float16 or bfloat16 to save in; default: the source's.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:0 or mps.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of anything random; default 0.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show what other libraries say.")]

BUDGET = "Budget (exactly one)"
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="low-rank (default), block-low-rank, monarch or pivoted.", show_default=False),
]
ParamsOption = Annotated[
    str | None, typer.Option("--params", help="Parameters of the whole model after: 44M, 1.2B.", rich_help_panel=BUDGET)
]
KeepOption = Annotated[
    float | None, typer.Option("--keep", help="Fraction of the targets' parameters kept.", rich_help_panel=BUDGET)
]
RankOption = Annotated[int | None, typer.Option("--rank", help="Rank of every target.", rich_help_panel=BUDGET)]
BlocksOption = Annotated[
    int | None, typer.Option("--blocks", help="Blocks a side, for block-low-rank and monarch; default 4.")
]
CriterionOption = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        help="How an error is counted: frobenius (default), fisher-rows, fisher, activation, kfac or sparsity.",
        show_default=False,
    ),
]
SolverOption = Annotated[
    str | None, typer.Option("--solver", help="For criterion fisher: cg (default) or adam-sgd.", show_default=False)
]
SparsityOption = Annotated[
    str | None,
    typer.Option("--sparsity", help="For criterion sparsity: l0 (default), l1, l2 or entries.", show_default=False),
]
CompensationOption = Annotated[
    str | None,
    typer.Option(
        "--compensation",
        help="sequential (default with activation and kfac): matrices make up for those before them; or none.",
        show_default=False,
    ),
]
AllocationOption = Annotated[
    str | None, typer.Option("--allocation", help="Who gets how much: uniform (default) or global.", show_default=False)
]
MultipleOption = Annotated[int | None, typer.Option("--rank-multiple", help="Ranks are multiples of this; default 1.")]
CALIBRATION = "Calibration (for a criterion that looks at data)"
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="A GLUE task, a file of texts or a Hub data set: owner/name[:configuration].",
        rich_help_panel=CALIBRATION,
    ),
]
SamplesOption = Annotated[
    int | None, typer.Option("--calibration-samples", help="Examples used; default 512.", rich_help_panel=CALIBRATION)
]
CalibrationLengthOption = Annotated[
    int | None, typer.Option("--max-length", help="Tokens of a text; default 128.", rich_help_panel=CALIBRATION)
]
FisherOption = Annotated[
    str | None,
    typer.Option(
        "--fisher",
        help="sampled (default): the model's own predictions; empirical: labels.",
        rich_help_panel=CALIBRATION,
    ),
]
CalibrationLabelOption = Annotated[
    str | None,
    typer.Option("--label-column", help="Column of labels, for --fisher empirical.", rich_help_panel=CALIBRATION),
]
IncludeOption = Annotated[
    list[str] | None, typer.Option("--include", help="Regular expression on target names; repeatable.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", help="Regular expression on target names; repeatable.")
]
ForceRankOption = Annotated[
    bool | None, typer.Option("--force-rank", help="Factorize at --rank even where that is larger than dense.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]

HUB = "Hub"
PushOption = Annotated[bool, typer.Option("--push-to-hub", help="Publish the result on the Hub.", rich_help_panel=HUB)]
HubIdOption = Annotated[
    str | None,
    typer.Option("--hub-model-id", help="OWNER/NAME; default: the output's name, below you.", rich_help_panel=HUB),
]
PrivateOption = Annotated[
    bool | None,
    typer.Option("--private/--public", help="Of a new repository; default: your account's.", rich_help_panel=HUB),
]

DATA = "Data"
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task", help="GLUE: sst2, mrpc, rte, qnli, qqp, mnli, mnli-mm, cola, stsb, wnli.", rich_help_panel=DATA
    ),
]
DataDirOption = Annotated[
    str | None,
    typer.Option("--data-dir", help="Holds TASK/SPLIT.parquet; default: nyu-mll/glue, Hub.", rich_help_panel=DATA),
]
DataRevisionOption = Annotated[
    str | None,
    typer.Option(
        "--data-revision", help="Commit, tag or branch of data on the Hub; default: its newest.", rich_help_panel=DATA
    ),
]
ValidationOption = Annotated[
    str | None,
    typer.Option("--validation", help="Your validation file: csv, tsv, JSON, parquet or arrow.", rich_help_panel=DATA),
]
TextColumnOption = Annotated[
    list[str] | None, typer.Option("--text-column", help="Column of texts; twice for pairs.", rich_help_panel=DATA)
]
LabelColumnOption = Annotated[
    str | None, typer.Option("--label-column", help="Column of labels; default label.", rich_help_panel=DATA)
]
LabelNamesOption = Annotated[
    str | None,
    typer.Option("--label-names", help="The labels in the order of the model's outputs: no,yes.", rich_help_panel=DATA),
]


def names(text: str | None) -> list[str] | None:
    """ "no,yes" -> the names; None where the option is not given."""
    return None if text is None else [name.strip() for name in text.split(",")]
