"""The files of a model for runtimes: written, quantized, run, held to what was asked."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..files.digests import digest_of_files
from ..models import cpus
from ..models.fit import Features, Fit, find_fit
from ..models.loading import Loaded
from ..models.model import Model
from ..notes import note
from ..progress import tell
from ..recipe.running import Exporting
from ..recipe.values import PRECISIONS
from ..scores.exams import Questions
from .checking import Check, Checked, hold, rows_of
from .evening import even
from .extras import need, versions
from .formats import Batch, Format, Made, formats
from .graph import OPSET, Graph, graph_of
from .harm import harmed
from .joining import told_when_full


@dataclass(frozen=True)
class Rows:
    """What files are made and held with: texts to `calibrate` on, and others to `check`, or an exam."""

    calibrate: Sequence[Features] = ()
    check: Sequence[Features] = ()
    exam: Questions | None = None


@dataclass(frozen=True)
class Written:
    """A file below a model's directory, with the ones that belong to it, and how it compares with the model."""

    path: str
    parts: tuple[str, ...]
    format: str
    precision: str
    bytes: int
    sha256: str
    checked: Checked
    versions: dict[str, str]
    reads: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For the result of a command."""
        return {
            "path": self.path, "format": self.format, "precision": self.precision, "bytes": self.bytes,
            "checked": self.checked.to_json(),
        }  # fmt: skip

    def to_recipe(self) -> dict[str, Any]:
        """For the provenance."""
        found = {k: v for k, v in self.checked.to_json().items() if v is not None}
        return {
            "path": self.path, "parts": list(self.parts), "format": self.format, "precision": self.precision,
            "bytes": self.bytes, "sha256": self.sha256, "versions": self.versions, "checked": found,
            "reads": self.reads,
        }  # fmt: skip


def wanted_files(how: Exporting) -> list[tuple[str, type[Format]]]:
    """The precision and the format of each that is asked for, the most exact first. Raises UsageError for what they
    cannot be, FactcliError for a package that lacks."""
    if not how.format:
        raise UsageError(f"Give --format {' or '.join(formats)}, or several.")
    if not how.precision:
        raise UsageError(f"Give --precision {' or '.join(PRECISIONS)}, or several.")
    found = [formats[name] for name in dict.fromkeys(how.format)]
    for one in found:
        for precision in how.precision:
            if precision not in one.precisions:
                raise UsageError(
                    f"--format {one.name} has no precision {precision}: take {', '.join(one.precisions)}"
                    + (", or save the model itself in it with --dtype." if precision == "bfloat16" else ".")
                )
        need(one.name)
    return [(precision, one) for precision in PRECISIONS if precision in how.precision for one in found]


def names_of(how: Exporting) -> list[str]:
    """Paths of the files that will be made, below the model's directory."""
    return [one.file(precision) for precision, one in wanted_files(how)]


def fit_of(source: Model, loaded: Loaded) -> Fit:
    """What the model takes."""
    return find_fit(loaded.model, source.tokenizer, source.name)


def write_files(source: Model, loaded: Loaded, fit: Fit, how: Exporting, rows: Rows, work: Path) -> list[Written]:
    """Write the files that `how` asks for into the directory `work`, below which they have their paths, and check them.
    `loaded` is the model, which is used up.

    Raises FactcliError where the model has no graph that the runtimes take, and for a file that is not the model or
    loses more than it may.
    """
    chosen = wanted_files(how)
    total = 1 + 2 * len(chosen)
    torch.nn.Module.to(loaded.model, "cpu", torch.float32)
    graph = graph_of(source, loaded.model, fit)
    with tempfile.TemporaryDirectory(dir=work, prefix=".graph-") as folder, told_when_full(work.parent):
        tell(0, total, "graph")
        exact = Path(folder) / "model.onnx"
        check = Check(graph, rows.exam, rows.check, fit)
        even(loaded.model)
        graph.write(exact, how.opset or OPSET)
        found, plain, eight = list[Written](), Made(exact), None
        for number, (precision, one) in enumerate(chosen):
            tell(1 + 2 * number, total, f"{one.name} {precision}")
            if precision != "float32":
                torch.nn.Module.to(loaded.model, "meta")  # it has answered: what is to come needs the memory
            if precision == "int8" and eight is None:
                eight = _for_8_bits(graph, fit, exact, rows, check)
            file = work / one.file(precision)
            file.parent.mkdir(parents=True, exist_ok=True)
            one.write(eight or plain, precision, file)  # int8 comes last
            tell(2 + 2 * number, total, f"{one.name} {precision}, checking")
            found.append(_written(one, precision, how, file, work, check))
    return found


def _reads(graph: Graph, fit: Fit) -> dict[str, Any]:
    """What whoever runs a file without transformers must know."""
    return {
        "inputs": list(graph.inputs), "outputs": list(graph.outputs), "max_length": min(fit.positions or 512, 512),
        "pad_id": fit.pad_id, "pad_token": str(fit.tokenizer.convert_ids_to_tokens(fit.pad_id)),
    }  # fmt: skip


def _for_8_bits(graph: Graph, fit: Fit, exact: Path, rows: Rows, check: Check) -> Made:
    texts: Sequence[Batch] = rows_of(graph, fit, rows.calibrate, 1) if rows.calibrate else ()
    spared = harmed(exact, texts or check.probe)
    if spared:
        first, *others = sorted(spared)
        many = f"{len(spared)} layers of {graph.name} stay" if others else f"1 layer of {graph.name} stays"
        more = f" and {len(others)} more" if others else ""
        note(f"{many} in floating point, which 8 bits harm: {first}{more}.")
    return Made(exact, texts, spared)


def _written(one: type[Format], precision: str, how: Exporting, file: Path, work: Path, check: Check) -> Written:
    name = file.relative_to(work).as_posix()
    if precision == "float32":
        check.equal(one.open(file, exact=True), name)
    session = one.open(file)
    if session.computes != precision:
        note(f"{name} is computed in {session.computes} on this CPU ({', '.join(cpus.instructions())}).")
    checked = check.of(session)
    hold(checked, how, name)
    parts = one.parts(file)
    return Written(
        name, tuple(p.relative_to(work).as_posix() for p in parts), one.name, precision,
        sum(p.stat().st_size for p in parts), digest_of_files(parts), checked, versions(one.name),
        _reads(check.graph, check.fit),
    )  # fmt: skip


def worst(found: Sequence[Written]) -> dict[str, Any]:
    """Of several files the largest difference and loss, the least agreement and metric."""
    checks = [w.checked for w in found]
    agreements = [c.agreement for c in checks if c.agreement is not None]
    losses = [c for c in checks if c.loss is not None]
    most = max(losses, key=lambda c: c.loss or 0.0) if losses else None
    return {
        "max_difference": max(c.max_difference for c in checks),
        "agreement": min(agreements) if agreements else None,
        "metric": most.metric if most else None,
        "loss": most.loss if most else None,
    }


def refuse_without_data(how: Exporting, labelled: bool) -> None:
    """Raises UsageError for bounds that there is no data to hold files to, and for an int8 that sees no text."""
    static = [
        f"--precision {precision} in {one.name}" for precision, one in wanted_files(how) if precision in one.static
    ]
    if static and how.calibration is None:
        raise UsageError(f"{static[0]} looks at texts for the ranges of its numbers: give --calibration.")
    if how.max_loss is not None and not labelled:
        raise UsageError("--max-loss needs labels to count: give --task or --validation, or take --min-agreement.")
    if how.min_agreement is not None and not labelled and how.calibration is None:
        raise UsageError("--min-agreement needs texts to compare on: give --calibration, --task or --validation.")
