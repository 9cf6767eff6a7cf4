"""How a command is run: what is never saved with a model."""

from pathlib import Path
from typing import ClassVar

from .fields import Options, option
from .registry import backends, formats
from .values import CUT, DTYPES, PRECISIONS, TASKS, WAYS, dtype, dtypes, fractions, loss, numbers, seeds

LABEL_NAMES = option((), "The labels in the order of the model's outputs: no,yes.", listed=True, words=True)
FILE = "csv, tsv, JSON, parquet or arrow"


class Device(Options):
    device: str = option("auto", "auto, cpu, cuda, cuda:0 or mps.")


class Revision(Options):
    revision: str | None = option(None, "Branch, tag or commit on the Hub.")


class Source(Revision):
    """Where the model comes from."""

    trust_remote_code: bool = option(False, "Run code of the source, and take it along.")


class Model(Options):
    model: str = option("", "A directory or Hub id; id@revision pins it.", only="argument", required=True)


class Models(Options):
    models: tuple[str, ...] = option((), "Directories or Hub ids.", only="argument", required=True)


class Making(Options):
    """From what to what."""

    model: str | None = option(None, "A directory or Hub id.", "the one that the recipe was made with", only="argument")
    output: str | Path | None = option(None, "Directory to write.", "named after the model", short="-o")
    config: str | Path | None = option(None, "A recipe (YAML); options win over it.", short="-c")
    overwrite: bool = option(False, "Replace the output if it exists.")


class Publishing(Options):
    panel: ClassVar[str] = "Hub"

    push_to_hub: bool = option(False, "Publish the result on the Hub.")
    hub_model_id: str | None = option(None, "OWNER/NAME.", "the output's name, below you")
    private: bool | None = option(None, "Of a new repository.", "your account's", no="--public")


class Console(Options):
    """What is shown."""

    as_json: bool = option(False, "Print one JSON document on stdout.", flag="json", only="line")
    quiet: bool = option(False, "Print results only.", short="-q", only="line")
    verbose: bool = option(False, "Show what other libraries say.", short="-v", only="line")


class DataDir(Options):
    panel: ClassVar[str] = "Data"

    data_dir: str | Path | None = option(None, "Holds TASK/SPLIT.parquet.", "nyu-mll/glue, on the Hub")


class Goal(Options):
    """What a model may lose, or how fast it must be, in place of a budget, and the rows that tell."""

    panel: ClassVar[str] = "Goal (in place of a budget: the smallest model that meets it)"

    max_loss: str | None = option(
        None, "Most that may be lost of the first metric: 0.5 (points of 100) or 1% (of the dense model's).", read=loss
    )
    min_similarity: float | None = option(
        None, "Least likeness to the dense model on texts of --calibration: cosine of vectors, share of equal answers.",
        gt=0, lt=1, called="a fraction between 0 and 1: 0.98",
    )  # fmt: skip
    max_ms: float | None = option(
        None, "Most milliseconds of a forward pass on this machine: then the largest model that is so fast.", gt=0
    )
    task: str | None = option(None, "The task of GLUE that it is measured on.", known=TASKS)
    validation: str | Path | None = option(None, f"Your rows with labels that choose: {FILE}.")
    test: str | Path | None = option(None, "Your rows that report.", "half of those that choose")
    label_names: tuple[str, ...] = LABEL_NAMES
    batch_size: int = option(1, "Texts of the pass that --max-ms times.", ge=1)
    sequence_length: int = option(128, "Tokens of each of them.", ge=1)
    heal: str | Path | None = option(
        None, f"Texts without labels on which every candidate learns from the dense model: {FILE}."
    )
    heal_steps: int = option(300, "Steps of that.", ge=1)
    budget_seconds: float | None = option(None, "Time after which no further candidate is made.", "no end", gt=0)


class DryRun(Options):
    dry_run: bool = option(False, "Print the plan and stop.")


class Files(Options):
    """The user's own data."""

    panel: ClassVar[str] = "Data"

    train: str | Path | None = option(None, f"Your training file: {FILE}.")
    validation: str | Path | None = option(None, f"Your validation file: {FILE}.")


class Training(Options):
    """How a training is run."""

    panel: ClassVar[str] = "Run"

    seeds: tuple[int, ...] | None = option(
        None, "1-6 or 1,2,5: a run each, and a table.", read=seeds, called="a list such as 1-6 or 1,2,5"
    )
    gradient_checkpointing: bool = option(False, "Less memory, slower.")
    torch_compile: bool = option(False, "Compile the model.")
    report_to: str = option("none", "Where losses are reported.", known=("none", "tensorboard", "trackio", "wandb"))
    save_steps: int = option(500, "Steps between checkpoints, 0 for none.", ge=0)
    resume: bool = option(False, "Continue an interrupted run.")
    teacher_cache: bool = option(False, "Keep the teacher's outputs on disk: one pass for all epochs and runs.")


class Data(Options):
    """What a model is measured on."""

    panel: ClassVar[str] = "Data"

    task: str | None = option(None, "A task of GLUE.", known=TASKS)
    split: str | None = option(None, "Of the task.", "its validation split")
    data_dir: str | Path | None = option(None, "Holds TASK/SPLIT.parquet.", "nyu-mll/glue, on the Hub")
    data_revision: str | None = option(None, "Commit, tag or branch of data on the Hub.", "the newest")
    validation: str | Path | None = option(None, f"Your validation file: {FILE}.")
    text_column: tuple[str, ...] = option(
        (), "Column of texts, or lists of words; twice for pairs.", "as it was trained", words=True
    )
    label_column: str | None = option(
        None, "Column of labels, or lists of tags.", "as it was trained, or label", words=True
    )
    label_names: tuple[str, ...] = LABEL_NAMES
    limit: int | None = option(None, "Only the first examples.", ge=1)
    batch_size: int = option(32, "Examples at a time.", ge=1)
    max_length: int | None = option(None, "Tokens of an example.", "as it was trained, or 128", ge=1)
    text_to_text: bool | None = option(None, "Answers in words.", "by the model", no="--head")


class Measured(Data):
    retrieval: str | Path | None = option(
        None, "A directory or Hub data set to search: corpus.jsonl, queries.jsonl, qrels.tsv."
    )
    update_card: bool = option(False, "Put the results into README.md.")


class Backend(Options):
    """What runs the models."""

    panel: ClassVar[str] = "Runtime"

    backend: str = option("torch", "What runs the model.", known=backends)
    file: str | None = option(None, "Of several files for a backend the one to run.", "the most exact that is there")


class Formats(Options):
    """Which files are written for runtimes."""

    panel: ClassVar[str] = "Files"

    format: tuple[str, ...] = option((), "A format to write for a runtime; may be given twice.", known=formats)
    opset: int | None = option(None, "Of the ONNX graph.", "20", ge=18, le=23)


class Shipping(Formats):
    """Those that are made in one go with the model."""

    precision: str = option("float32", "Of the weights in these files.", known=PRECISIONS, read=dtype)


class Exporting(Formats):
    """Those of a model that stands, and what they are held to."""

    precision: tuple[str, ...] = option(
        ("float32",), "Of the weights in these files; one or several: float32,int8.", known=PRECISIONS, listed=True,
        read=dtypes,
    )  # fmt: skip
    calibration: str | None = option(None, "Texts for int8: a file, a GLUE task or a Hub data set.")
    calibration_samples: int = option(300, "Rows of them.", ge=1)
    max_loss: float | None = option(None, "Points of the task's metric that a file may lose, or it is not kept.", ge=0)
    min_agreement: float | None = option(
        None, "Share of predictions that must be the same (of embeddings the mean cosine).", ge=0, le=1
    )  # fmt: skip


class Into(Options):
    """Where files go."""

    output: str | Path | None = option(None, "A directory of its own.", "they join the model's", short="-o")
    overwrite: bool = option(False, "Replace files of the same name.")


class Timed(Options):
    """What is timed, and how."""

    panel: ClassVar[str] = "How it is measured"

    baseline: str | None = option(None, "The model to compare with, measured in turns with the others.")
    batch_size: tuple[int, ...] = option((1,), "One or several: 1,8,32.", read=numbers)
    sequence_length: tuple[int, ...] = option((128,), "Tokens; one or several.", read=numbers)
    backend: tuple[str, ...] = option(("torch",), "What runs the models; one or several.", known=backends, listed=True)
    precision: tuple[str, ...] = option(
        (), "Precisions to run, as far as a backend has them: float32,int8.", "the most exact of each",
        known=PRECISIONS, listed=True, read=dtypes,
    )  # fmt: skip
    protocol: str = option("rounds", "paper: 100 examples, 8 runs, the first two omitted.", known=("rounds", "paper"))
    variant: tuple[str, ...] = option(
        ("eager",), "Of eager, compile and cuda-graphs: eager,compile.", listed=True,
        known=("eager", "compile", "cuda-graphs"),
    )  # fmt: skip
    seconds: float | None = option(None, "Time for the rounds of all cells.", "60")
    runs: int | None = option(None, "As many rounds a cell, however long.")
    dtype: str | None = option(
        None, "Precision to load in.", "each model's own", known=tuple(DTYPES.values()), read=dtype
    )
    threads: int | None = option(None, "Of torch on the CPU.", "torch's own", ge=1)
    plot: str | Path | None = option(None, "Latency and accuracy against parameters; .png or .svg, both are written.")
    update_card: bool = option(False, "Put the speed into README.md.")


class Held(Options):
    """What models are held to: labels, or what the dense one says of texts."""

    panel: ClassVar[str] = "Data"

    task: str | None = option(None, "A task of GLUE.", known=TASKS)
    data_dir: str | Path | None = option(None, "Holds TASK/SPLIT.parquet.", "nyu-mll/glue, on the Hub")
    validation: str | Path | None = option(None, f"Your rows with labels: {FILE}.")
    calibration: str | None = option(
        None, "Texts to calibrate on; with neither labels nor task, a tenth of them compare with the dense model.",
        "the training data of the task",
    )  # fmt: skip
    text_column: tuple[str, ...] = option((), "Column of texts of your files; twice for pairs.", words=True)
    label_column: str | None = option(None, "Column of labels.", "as it was trained, or label", words=True)
    label_names: tuple[str, ...] = LABEL_NAMES
    limit: int | None = option(None, "Only the first rows with labels.", ge=1)


class Ways(Options):
    """Which ways of making a model smaller are compared."""

    panel: ClassVar[str] = "What is compared"

    ways: tuple[str, ...] = option(
        (), "Some of them.", "all that can be made, kfac-vocabulary with --vocabulary alone", known=WAYS, listed=True
    )
    keeps: tuple[float, ...] = option(
        (0.5, 0.25, 0.1), "Shares of the targets' parameters that stay.", read=fractions,
        called="a list of fractions between 0 and 1",
    )  # fmt: skip
    vocabulary: str | Path | None = option(None, "Texts whose tokens stay in kfac-vocabulary.")
    heal: str | Path | None = option(None, "Texts to train on with the dense model as teacher, without labels.")
    heal_steps: int = option(500, "Steps of that.", ge=1)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The ways that are compared."""
        return self.ways or tuple(way for way in WAYS if way != CUT or self.vocabulary is not None)


class Clocked(Options):
    """What runs the models, on what."""

    panel: ClassVar[str] = "How it is timed"

    backend: tuple[str, ...] = option((), "What runs the models.", "all that are installed", known=backends,
                                      listed=True)  # fmt: skip
    batch_size: int = option(8, "Texts at a time.", ge=1)
    sequence_length: int = option(128, "Tokens of each.", ge=1)
    seconds: float = option(20.0, "Of the turns that six of them take at a time; 0 times nothing.", ge=0)
    threads: int | None = option(None, "On the CPU.", "torch's own", ge=1)


class Compared(Options):
    """Where that goes."""

    output: str | Path | None = option(None, "Keeps the models here; what is there is not made again.", short="-o")
    plot: str | Path | None = option(None, "Score against megabytes and milliseconds, as .png, .svg or .pdf.")


class Drawn(Options):
    every: bool = option(False, "Show every target, not the worst five alone.", flag="all", only="line")
    plot: str | Path | None = option(None, "Error against rank for every layer, as .png, .svg or .pdf.")


class Pushing(Options):
    """What is published, and as what."""

    folder: str | Path = option("", "What convert or finetune wrote.", only="argument", required=True)
    repo_id: str | None = option(None, "OWNER/NAME.", "the directory's name, below you", only="argument")
    commit_message: str | None = option(None, "Of the one commit.", short="-m", words=True)
    revision: str | None = option(None, "The branch; made if need be.")
    create_pr: bool = option(False, "Open a pull request instead.")
    tag: str | None = option(None, "A name for the commit, which the card then loads.")
    private: bool | None = option(None, "Of a new repository.", "your account's", no="--public")
    keep_readme: bool = option(False, "Leave the repository's README.md as it is; else our part goes into it.")
    dry_run: bool = option(False, "List the files and send nothing.")


class Sweeping(Options):
    """Which runs, and where their results are."""

    sweep_file: str | Path | None = option(
        None, "A sweep (YAML): lists over options.", "the one that the folder was started with", only="argument"
    )
    output: str | None = option(
        None, "Folder of the results: a directory, or s3:// and what else fsspec knows.", "results/NAME", short="-o"
    )
    set: tuple[str, ...] = option((), "NAME=VALUE: a variable of the file; repeatable.", words=True)
    only: str | None = option(None, "Some runs: 'task=mrpc,method=monarch'.", words=True)
    dry_run: bool = option(False, "List the runs and their sizes, and stop.")
    status: bool = option(False, "Say what is done, from any machine that sees the folder, and stop.")
    yes: bool = option(False, "Start 10,000 runs and more.")
    retry: bool = option(False, "Carry out once more what failed.")
    any_code: bool = option(False, "Take results that another version of the code gave.")


class Engines(Options):
    """What carries them out."""

    panel: ClassVar[str] = "Where the runs are carried out"

    ray: str | None = option(
        None, "Address of a Ray cluster, 'local' for one of its own, or 'none' for processes of this machine.",
        "local where Ray is installed, else none", words=True,
    )  # fmt: skip
    workers: int | None = option(None, "Runs at a time, on this machine.", "as many as fit", ge=1)


class Reports(Options):
    """Tables and figures, of what is there when the command ends."""

    panel: ClassVar[str] = "Report"

    report: str | Path | None = option(None, "Tables as Markdown, with their numbers as JSON beside it.")
    plot: str | Path | None = option(None, "Figure, as .png, .svg or .pdf.")
