"""What `frontier` compares by, and where: its options together, scores, a directory in which they stay."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.hub_sets import parse_id
from ..data.tables import is_table
from ..errors import FactcliError, UsageError
from ..files import atomic
from ..files.digests import digest_of_files
from ..files.outputs import Output, inputs, workspace
from ..measuring.agreement import Reference, reference
from ..measuring.plots import check_plot
from ..models.model import Model
from ..notes import note
from ..recipe.effects import is_file
from ..recipe.rules import Rule, refuse_idle, unless
from ..recipe.running import Clocked, Compared, Held, Ways
from ..recipe.values import CUT, TASKS
from ..runtimes.extras import need
from ..runtimes.formats import formats
from .evaluate import evaluate
from .texts import HELD_OUT
from .ways import Files

RESULTS = "frontier.json"  # in the directory that is kept
_LABELLED = ("task", "validation")
RULES = (
    Rule(
        ("data_dir",), lambda v: unless(v["task"] or v["calibration"] in TASKS, "without a task of GLUE"), "give --task"
    ),
    Rule(
        ("label_column", "label_names"), lambda v: unless(v["validation"], "without --validation"), "give --validation"
    ),
    Rule(("limit",), lambda v: unless(any(v[n] for n in _LABELLED), "without --task or --validation"), "give one"),
    Rule(
        ("text_column",),
        lambda v: unless(
            v["validation"] or v["heal"] or v["vocabulary"] or is_file(v["calibration"]), "without a file of your own"
        ),
    ),
    Rule(
        ("batch_size", "sequence_length", "threads"),
        lambda v: unless(v["seconds"], "with --seconds 0, which times nothing"),
        by=("seconds",),
    ),
    Rule(("heal_steps",), lambda v: unless(v["heal"], "without --heal"), "give --heal FILE"),
    Rule(
        ("heal",),
        lambda v: unless(set(v["ways"]) - {"dense", "svd"}, f"with --ways {','.join(v['ways'])}"),
        "take kfac, kfac-embeddings, kfac-vocabulary or layers",
    ),
    Rule(
        ("vocabulary",),
        lambda v: unless(CUT in v["ways"], f"with --ways {','.join(v['ways'])}"),
        "take kfac-vocabulary",
    ),
    Rule(
        ("keeps",),
        lambda v: unless(set(v["ways"]) - {"dense", "layers"}, f"with --ways {','.join(v['ways'])}"),
        "take kfac, kfac-embeddings, kfac-vocabulary or svd",
    ),
)


def check_asked(held: Held, ways: Ways, clocked: Clocked, into: Compared, flags: Collection[str]) -> None:
    """Raises UsageError for options that do not go together, FactcliError for a plot that could not be written."""
    if held.task is not None and held.validation is not None:
        raise UsageError("Give either --task, for GLUE, or --validation FILE.")
    if held.task is None and held.calibration is None:
        missing = "texts to calibrate on" if held.validation is not None else "labels or texts"
        raise UsageError(
            f"There are no {missing}: give --calibration FILE with texts like those that the model is for"
            + ("." if held.validation is not None else ", or --task, or --validation FILE and --calibration FILE.")
        )
    if not any((held.task, held.validation)) and not is_file(held.calibration):
        raise UsageError("Without labels --calibration is a file of texts: give one, or --task.")
    refuse_idle(RULES, vars(held) | vars(ways) | {"ways": ways.chosen} | vars(clocked), flags)
    if CUT in ways.chosen and ways.vocabulary is None:
        raise UsageError(f"--ways {CUT} keeps the tokens that texts use: give them with --vocabulary FILE.")
    files = {
        "--validation": held.validation, "--calibration": held.calibration, "--heal": ways.heal,
        "--vocabulary": ways.vocabulary,
    }  # fmt: skip
    for option, file in files.items():
        elsewhere = option == "--calibration" and (file in TASKS or _on_the_hub(str(file)))
        if file is not None and not (is_file(file) or elsewhere):
            raise FactcliError(f"{option} {file} is no file: give one with a row a text.")
        if held.validation is not None and option != "--validation" and _same(file, held.validation):
            raise UsageError(
                f"{option} and --validation are the same file, whose rows must be new to the models: give {option} "
                "another."
            )
    if into.plot is not None:
        check_plot(Path(into.plot), made=into.output)


def _same(a: Any, b: Any) -> bool:
    return is_file(a) and Path(a).expanduser().samefile(Path(b).expanduser())


def _on_the_hub(name: str) -> bool:
    return not is_table(Path(name)) and parse_id(name) is not None


def installed(asked: Sequence[str]) -> tuple[str, ...]:
    """The backends: those asked for, or all that are installed; a note says which are not. Raises FactcliError for one
    that is asked for and not installed."""
    found = []
    for name in asked or ("torch", *formats):
        try:
            if name != "torch":
                need(name)
            found.append(name)
        except FactcliError as error:
            if asked:
                raise
            note(f"Rows of {formats[name].title} are left out: {error}")
    return tuple(dict.fromkeys(found))


@contextmanager
def kept(output: str | Path | None, source: Model, held: Held, ways: Ways) -> Iterator[Path]:
    """The directory that the models are made in: `output`, where they stay, or one that is gone after the body.

    Raises FactcliError where it holds anything else than a comparison of this source on these data, and where another
    process is at it.
    """
    if output is None:
        with workspace(None) as work:
            yield work
        return
    read = inputs(
        ("the source", source.name), ("--validation", held.validation), ("--calibration", held.calibration),
        ("--heal", ways.heal), ("--vocabulary", ways.vocabulary), ("--data-dir", held.data_dir),
    )  # fmt: skip
    place = Output(output, read=read, overwrite=True)
    ours = _is_ours(_read(place.path))
    if not ours and place.path.is_dir() and any(place.path.iterdir()):
        raise FactcliError(f"{output} is not empty, and no comparison: choose another --output.")
    if not ours:
        place.check()
    try:
        with atomic.locked(atomic.lock_of(place.path)):
            there = place.path.is_dir()
            place.path.mkdir(exist_ok=True)
            now, known = _identity(source, held), _read(place.path)
            given = _texts(ways)
            before = {name: known[name] for name in given if known.get(name) is not None}
            if (known and known.get("of") != now) or any(given[n] not in (None, old) for n, old in before.items()):
                raise FactcliError(
                    f"{output} compares another model, on other data, or healed otherwise, or with another vocabulary: "
                    "choose another --output, or remove it."
                )
            known = {"of": now, **given, **before, "scores": known.get("scores", {})}
            atomic.write_json(place.path / RESULTS, known)
            try:
                yield place.path
            except FactcliError:
                if not ours:
                    _unmake(place.path, there)
                raise
    except atomic.Busy as error:
        raise FactcliError(f"{output} is being written by another process: wait until it is done.") from error


def _unmake(folder: Path, there: bool) -> None:
    """Take back what was begun where no model is: other texts, which may be what was advised, would be refused there.
    The directory stays where it was `there` before."""
    files = list(folder.iterdir())
    if any(file.is_dir() for file in files):
        return
    for file in files:
        file.unlink()
    if not there:
        folder.rmdir()


def _identity(source: Model, held: Held) -> dict[str, Any]:
    """What the models and scores of a directory depend on, beside their names."""
    named = {name: getattr(held, name) for name in ("validation", "calibration")}
    files = {k: digest_of_files([Path(v).expanduser()]) for k, v in named.items() if is_file(v)}
    found = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(held).items() if k not in ("data_dir", *files)}
    return {"model": source.digest, **found, **files}


def _texts(ways: Ways) -> dict[str, Any]:
    """What healed models, and those with fewer tokens, depend on; None where there are none."""
    files = {"heal": ways.heal, "vocabulary": ways.vocabulary}
    found = {k: None if v is None else digest_of_files([Path(v).expanduser()]) for k, v in files.items()}
    return found | {"heal": None if ways.heal is None else [found["heal"], ways.heal_steps]}


def _is_ours(known: Mapping[str, Any]) -> bool:
    return {"of", "scores"} <= known.keys()


def _read(work: Path) -> dict[str, Any]:
    try:
        found = json.loads((work / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Scores:
    """Scores of models and their files, kept in `work` as soon as they are known."""

    def __init__(self, source: Model, work: Path, held: Held) -> None:
        self.source, self.work, self.held = source, work, held
        self.known: dict[str, dict[str, Any]] = _read(work).get("scores", {})
        self._reference: Reference | None = None

    def of(self, model: Model, files: Files) -> list[dict[str, Any]]:
        """Of each file: backend, precision, metric, score (a fraction of one) and rows. Raises FactcliError where the
        dense model has nothing to lose."""
        found = []
        for (backend, precision), file in files.items():
            key = f"{model.path.name} {backend} {precision}"
            if key not in self.known:
                measured = self._measured(model, backend, file)
                self.known[key] = {"backend": backend, "precision": precision, **measured}
                atomic.write_json(self.work / RESULTS, _read(self.work) | {"scores": self.known})
            found.append(self.known[key])
        return found

    def _measured(self, model: Model, backend: str, file: Path | None) -> dict[str, Any]:
        held = self.held
        if held.task is None and held.validation is None:
            self._reference = self._reference or reference(self.source, self.work / HELD_OUT)
            score = self._reference.score(model, None if file is None else (backend, file))
            return {"metric": self._reference.metric, "score": score, "rows": len(self._reference.features)}
        options: dict[str, Any] = {"task": held.task, "data_dir": held.data_dir if held.task else None}
        if held.validation is not None:
            options = {k: getattr(held, k) for k in ("validation", "text_column", "label_column", "label_names")}
        given = {k: v for k, v in (options | {"limit": held.limit}).items() if v not in (None, ())}
        given |= {} if file is None else {"backend": backend, "file": file.relative_to(model.path).as_posix()}
        result = evaluate(str(model.path), trust_remote_code=self.source.trusted or None, **given)[0]
        if result["failed_run"] and not self.known:
            raise FactcliError(
                f"{self.source.name} is no better than always answering the commonest label: there is nothing to "
                "lose. Fine-tune it on the task first."
            )
        metric = next(iter(result["metrics"]))
        return {"metric": metric, "score": result["metrics"][metric], "rows": result["examples"]}
