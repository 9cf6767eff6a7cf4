"""A conversion whose budget is looked for: candidates are made as they would be shipped, and the best one that meets
the goals is the answer."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from .. import __version__
from ..calibration.measure import options_of
from ..compress.planning import whole
from ..data.tasks import GLUE, split_files
from ..errors import CheckFailed, FactcliError
from ..files.digests import digest_of_files
from ..files.outputs import Output
from ..models.model import Model
from ..notes import note
from ..runtimes.extras import versions
from ..runtimes.rows import CHECKED
from ..scores.exams import commit_of_data
from ..searching.bisection import Candidate, bisect
from ..searching.goal import Goals
from ..searching.healing import options_for
from ..searching.journal import Journal, check_own
from ..searching.judging import Judge
from ..searching.likeness import MOST, likeness
from ..searching.rows import judge
from ..searching.stopwatch import Until, check_long
from .converting import Conversion
from .shares import Candidates, Made, lowest

SEARCH = "search"


@dataclass(frozen=True)
class Found:
    """The conversion with the budget that meets the goals, what it made, and what the search was, for --json: goal,
    metric, rows, dense scores, candidates, keep; loss with its interval on rows that nothing was chosen by, and the
    milliseconds, each where it was asked for."""

    how: Conversion
    made: Made
    search: dict[str, Any]


class _Unmet(FactcliError):
    """The search came to its end, and nothing meets the goals."""


@contextmanager
def searched(how: Conversion, source: Model, goals: Goals, place: Output, until: Until) -> Iterator[Found]:
    """What was found, whose directory is there during the body: take it then.

    What a search knew that was killed, failed or ran out of time is in `NAME-search`, from where the same command goes
    on. Raises FactcliError where no budget meets the goals, and as `judge`, `likeness` and what makes candidates.
    """
    if goals.healing is not None:
        options_for(source)  # refused before any work
    if goals.latency is not None:
        check_long(source, goals.latency)
    low = lowest(source, how.recipe)
    _say_where(how, goals)
    judging = _judge(how, source, goals)
    if goals.healing is not None and judging is not None:
        goals = replace(goals, healing=goals.healing.apart(source, judging))
    with _folder(place, _identity(how, source, goals)) as journal:
        making = Candidates(how, source, goals, judging, journal, place.given)
        tried, best = bisect(making.measured, making.good, low, goals.latency is not None, until.more)
        ended = FactcliError if until.over else _Unmet  # with more time there may be one
        if best is None:
            raise ended(_unmet(goals, judging, tried, until))
        if judging is not None and best.loss is not None and best.loss > judging.allowed:
            raise ended(
                f"No model is as fast as {goals.latency} and good enough: the largest that is so fast, with "
                f"{best.keep} of the targets, loses {best.loss:.2f} points, {judging.allowed:.2f} are allowed."
            )
        made = making.kept.get(best.keep) or making.make(best.keep)
        search = {
            "goal": goals.to_json(),
            **(judging.to_json() if judging else {}),
            "candidates": [asdict(one) for one in tried],
            "keep": best.keep,
            **({"ms": best.ms} if goals.latency else {}),
            **({"healing": made.healed} if made.healed else {}),
        }
        if judging is not None:
            lost, (low, high) = judging.reported(made.model(source.trusted), made.file, how.recipe.seed)
            search |= {"loss": lost, "interval": [low, high]}
        yield Found(replace(how, recipe=how.recipe.but(keep=best.keep)), made, search)


def _judge(how: Conversion, source: Model, goals: Goals) -> Judge | None:
    if goals.loss is not None:
        return judge(whole(source), goals.loss, how.recipe.seed, how.device)
    if goals.similarity is None:
        return None
    options = options_of(how.recipe, how.data_dir)
    besides = [options]
    if how.shipment is not None and "int8" in how.shipment.how.precision:  # those that 8 bits look at
        besides.append(replace(options, samples=how.shipment.how.calibration_samples + CHECKED, seed=0))
    counted = how.recipe.factorizes_embeddings
    return likeness(source, goals.similarity, replace(options, samples=MOST), besides, how.device, counted)


def _say_where(how: Conversion, goals: Goals) -> None:
    if how.device.type != "cpu":
        note(f"Candidates are made and measured on {how.device}; their files for runtimes run on the CPU.")
    if goals.latency is not None:
        note(f"Passes are timed on the CPU, with {torch.get_num_threads()} threads.")


@contextmanager
def _folder(place: Output, identity: dict[str, Any]) -> Iterator[Journal]:
    """What is known, in `NAME-search`, where candidates are made: it stays where the search did not come to its end.

    Raises FactcliError where something of others has that name.
    """
    work = place.beside(SEARCH)
    check_own(work)
    work.mkdir(exist_ok=True)
    journal = Journal(work, identity)
    try:
        yield journal
    except FactcliError as error:
        if isinstance(error, _Unmet) or (journal.empty and not isinstance(error, CheckFailed)):
            shutil.rmtree(work)
        else:
            note(f"What the search knows so far stays in {work}: the same command goes on from there.")
        raise
    shutil.rmtree(work)


def _identity(how: Conversion, source: Model, goals: Goals) -> dict[str, Any]:
    """What decides a candidate, and what it is measured by."""
    recipe, shipment, loss, healing = how.recipe, how.shipment, goals.loss, goals.healing
    return {
        "versions": {
            "factcli": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            **{k: v for name in (shipment.how.format if shipment else ()) for k, v in versions(name).items()},
        },
        "source": source.digest,
        "recipe": vars(recipe),
        "goal": goals.to_json() | {"measured": vars(loss.how) if loss else None},
        "healing": [healing.steps, healing.columns] if healing else None,
        "shipment": [vars(shipment.how), vars(shipment.texts)] if shipment else None,
        "data": _data(how, goals),
        "device": how.device.type,
        "threads": torch.get_num_threads() if goals.latency else None,
    }


def _data(how: Conversion, goals: Goals) -> list[str | None]:
    """Digests of the files that are read, by their content, and the commit of what is measured on and not here."""
    recipe, loss, healing = how.recipe, goals.loss, goals.healing
    named: list[
        tuple[str | Path | None, str | Path | None, str | None]
    ] = [  # data, where GLUE's are, which of its rows
        (recipe.calibration, how.data_dir, "train"),
        (recipe.vocabulary, how.data_dir, "train"),
        (how.shipment.how.calibration if how.shipment else None, how.data_dir, "train"),
        (healing.file if healing else None, None, None),
    ]
    if loss is not None:
        named += [(file, None, None) for file in (loss.how.validation, loss.test)]
        named.append((loss.how.task, loss.how.data_dir, loss.how.split))
    found = [commit_of_data(loss.how) if loss is not None else None]
    for name, folder, split in named:
        if name in GLUE and folder is not None:
            task = GLUE[str(name)]
            found.append(digest_of_files(split_files(task, split or task.validation, folder)))
        elif name is not None and (file := Path(name).expanduser()).is_file():
            found.append(digest_of_files([file]))
    return found


def _unmet(goals: Goals, judging: Judge | None, tried: list[Candidate], until: Until) -> str:
    """The sentence where nothing meets the goals, with the best that was."""
    ended = " in the time" if until.over else ""
    if goals.latency is not None:
        fastest = min(tried, key=lambda one: one.ms or 0.0)
        return (
            f"No budget{ended} is as fast as {goals.latency}: the fastest took {fastest.ms:.2f} ms, at {fastest.keep} "
            "of the targets. Allow more, or take --format openvino, fewer tokens, or a model of fewer layers."
        )
    assert judging is not None
    least = min(tried, key=lambda one: one.loss or 0.0)
    if goals.loss is None:
        wanted = f"has a similarity of {goals.similarity:g}"
        found = f"the most was {1 - (least.loss or 0.0) / 100:.4f}"
    else:
        wanted, found = f"loses at most {goals.loss}", f"the least was {least.loss:.2f} points"
    rows = judging.to_json()["rows"]["choose"]
    more = "more --heal-steps" if goals.healing else "--heal TEXTS"
    return (
        f"No budget{ended} {wanted}: {found}, at {least.keep} of the targets, on {rows} rows. Allow more, take another "
        f"criterion (kfac), or {more}."
    )
