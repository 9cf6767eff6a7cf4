"""The commands: what each is asked, as groups of options."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

from ..progress import watched
from . import running as run
from .factorizing import Examined, Recipe
from .fields import Declared, Options, declared
from .reading import read_flags, resolve
from .training import Settings

T = TypeVar("T", bound=Options)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Command:
    """A command, and the function of its name. An option that several groups have belongs to the first of them.

    `called` are keywords that only the function has: what to tell of its progress. `examples` stand at the top of its
    help: what it is mostly used for, as typed after "factcli", in lines that fit a help of 80 columns.
    """

    name: str
    summary: str
    groups: tuple[type[Options], ...]
    positional: tuple[str, ...] = ("model",)
    called: tuple[str, ...] = ()
    function: str = ""
    examples: tuple[str, ...] = ()

    @property
    def called_as(self) -> str:
        """The function's name."""
        return self.function or self.name

    @property
    def found(self) -> dict[str, tuple[type[Options], Declared]]:
        """Name of an option -> its group, and how that declares it."""
        found: dict[str, tuple[type[Options], Declared]] = {}
        for group in self.groups:
            found |= {name: (group, one) for name, one in declared(group).items() if name not in found}
        return found

    @property
    def owners(self) -> dict[str, type[Options]]:
        return {name: group for name, (group, _) in self.found.items()}

    @property
    def options(self) -> dict[str, Declared]:
        return {name: one for name, (_, one) in self.found.items()}

    @property
    def keywords(self) -> dict[str, Declared]:
        """Those that the function has."""
        return {name: one for name, one in self.options.items() if one.about.only not in ("line", "file")}

    @property
    def keyword_names(self) -> list[str]:
        return [*self.keywords, *self.called]

    @property
    def signature(self) -> inspect.Signature:
        """Of the function: None is "not given"."""
        names = [*self.positional, *(name for name in self.keywords if name not in self.positional), *self.called]
        kinds = dict.fromkeys(self.positional, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        required = {name for name in self.positional if self.options[name].required}
        return inspect.Signature([
            inspect.Parameter(
                name, kinds.get(name, inspect.Parameter.KEYWORD_ONLY),
                default=inspect.Parameter.empty if name in required else None,
            )
            for name in names
        ])  # fmt: skip

    def ask(self, values: Mapping[str, Any]) -> "Asked":
        """Raises UsageError for a value that an option cannot have."""
        return Asked(self, read_flags(self.options, values))


@dataclass(frozen=True)
class Asked:
    """What was asked of a command: `values` of the options that were given, read and checked."""

    command: Command
    values: Mapping[str, Any]
    called: Mapping[str, Any] = field(default_factory=dict)

    def flags(self, group: type[Options]) -> dict[str, Any]:
        """What was given of a group."""
        owners = self.command.owners
        return {name: value for name, value in self.values.items() if owners[name] is group}

    def of(self, group: type[T], file: Mapping[str, Any] | None = None) -> T:
        """The values of a group: given, else those of a recipe file, else its defaults."""
        return resolve(group, self.flags(group), file)


def answers(command: Command) -> Callable[[Callable[[Asked], Result]], Callable[..., Result]]:
    """A decorator: the public function, with the command's keywords, of one that takes what was asked."""

    def decorate(function: Callable[[Asked], Result]) -> Callable[..., Result]:
        @wraps(function)
        def public(*args: Any, **keywords: Any) -> Result:
            if unknown := next((name for name in keywords if name not in command.keyword_names), None):
                near = get_close_matches(unknown, command.keyword_names, n=1)
                hint = f", did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{command.called_as}() got an unexpected keyword argument {unknown!r}{hint}")
            values = command.signature.bind(*args, **keywords).arguments
            called = {name: values.pop(name) for name in command.called if values.get(name) is not None}
            asked = command.ask(values)
            with watched(called.get("progress")):
                return function(Asked(command, asked.values, called))

        public.__signature__ = command.signature  # type: ignore[attr-defined]
        return public

    return decorate


CONVERT = Command(
    "convert",
    "Replace a model's weight matrices by structured products under a budget, and save the result.",
    (run.Making, Recipe, run.Goal, run.DataDir, run.Shipping, run.Source, run.Device, run.Publishing, run.DryRun,
     run.Console),
    ("model", "output"),
    ("progress",),
    examples=("convert MODEL --keep 0.4 --criterion kfac --calibration texts.csv",
              "convert MODEL --params 44M --method monarch --blocks 4 --dry-run"),
)  # fmt: skip
FINETUNE = Command(
    "finetune",
    "Train a model on a task: dense in and factorized in stages, or factorized in and trained.",
    (run.Making, run.Files, run.DataDir, Settings, Recipe, run.Training, run.Device, run.Source, run.Publishing,
     run.Console),
    ("model", "output"),
    ("watch",),
    examples=("finetune MODEL --keep 0.4 --train train.csv --validation val.csv",
              "finetune small -o better --task sst2 --teacher MODEL --seeds 1-3"),
)  # fmt: skip
EVAL = Command(
    "eval",
    "Measure models on a GLUE task, your own file or a collection to search.",
    (run.Models, run.Measured, run.Backend, run.Device, run.Source, run.Console),
    ("models",),
    ("progress",),
    "evaluate",
    examples=("eval MODEL small --task mrpc", "eval small --validation val.csv --backend onnx"),
)
EXPORT = Command(
    "export",
    "Write a model's ONNX and OpenVINO files, in low precision if asked, and hold them to its quality.",
    (run.Model, run.Exporting, run.Into, run.Data, run.Source, run.Console),
    called=("progress",),
    examples=("export small --format openvino", "export small --format onnx --precision int8 --calibration texts.csv"),
)
BENCH = Command(
    "bench",
    "Measure latency, memory, FLOPs and size of models, as ratios to a baseline.",
    (run.Models, run.Timed, run.Device, run.Console),
    ("models",),
    ("progress",),
    examples=(
        "bench small --baseline MODEL --batch-size 1,8",
        "bench small --backend torch,onnx --precision float32,int8",
    ),
)
FRONTIER = Command(
    "frontier",
    "Compare the ways to make one model smaller: score against megabytes and milliseconds.",
    (run.Model, run.Held, run.Ways, run.Clocked, run.Compared, run.Source, run.Console),
    called=("progress",),
    examples=("frontier MODEL --task sst2 --plot frontier.png", "frontier MODEL --calibration texts.csv -o compared"),
)
DIAGNOSE = Command(
    "diagnose",
    "Show how compressible a model is, layer by layer, and whether plain SVD will fail.",
    (run.Model, Examined, run.DataDir, run.Drawn, run.Source, run.Device, run.Console),
    called=("progress",),
    examples=("diagnose MODEL --calibration texts.csv", "diagnose MODEL --plot errors.png --all"),
)
INSPECT = Command(
    "inspect", "Show what is in an export: plan, sizes, provenance, pins.", (run.Model, run.Revision, run.Console),
    ("model", "revision"),
    examples=("inspect small", "inspect owner/name@main --json"),
)  # fmt: skip
PUSH = Command(
    "push",
    "Publish a model on the Hugging Face Hub, in one commit.",
    (run.Pushing, run.Console),
    ("folder", "repo_id"),
    examples=("push small --dry-run", "push small owner/name --private --tag v1"),
)
SWEEP = Command(
    "sweep",
    "Carry out many runs from one file, here or on a cluster; what is done is not done again.",
    (run.Sweeping, run.Engines, run.Reports, run.Console),
    ("sweep_file", "output"),
    ("progress",),
    examples=("sweep recipes/sweeps/seed-paper.yaml --dry-run", "sweep grid.yaml -o results --report table.md"),
)
COMMANDS = (CONVERT, INSPECT, DIAGNOSE, FINETUNE, EXPORT, EVAL, BENCH, FRONTIER, SWEEP, PUSH)
