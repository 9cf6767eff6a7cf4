"""A conversion whose budget is looked for: candidates are made as they would be shipped, and the best one that meets
the goals is the answer."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..calibration.measure import options_of
from ..compress.planning import whole
from ..errors import FactcliError
from ..files.digests import digest_of_files
from ..files.outputs import Output
from ..models.model import Model
from ..runtimes.rows import CHECKED
from ..searching.bisection import Candidate, bisect
from ..searching.goal import Goals
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


@contextmanager
def searched(how: Conversion, source: Model, goals: Goals, place: Output) -> Iterator[Found]:
    """What was found, whose directory is there during the body: take it then.

    What a killed search knew is in `NAME-search`, from where the same command goes on. Raises FactcliError where no
    budget meets the goals, and as `judge` and `likeness`.
    """
    judging = _judge(how, source, goals)
    if goals.latency is not None:
        check_long(source, goals.latency)
    with _folder(place) as work:
        journal = Journal(work, _identity(how, source, goals))
        making = Candidates(how, source, goals, judging, work, place.given, journal)
        until = Until(goals.seconds)
        tried, best = bisect(
            making.measured, making.good, lowest(source, how.recipe), goals.latency is not None, until.more
        )
        if best is None:
            raise FactcliError(_unmet(goals, judging, tried, until))
        if judging is not None and best.loss is not None and best.loss > judging.allowed:
            raise FactcliError(
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
        return judge(whole(source), goals.loss, how.recipe.seed)
    if goals.similarity is None:
        return None
    options = options_of(how.recipe, how.data_dir)
    besides = [options]
    if how.shipment is not None and how.shipment.how.precision == "int8":  # those that 8 bits look at
        besides.append(replace(options, samples=how.shipment.how.calibration_samples + CHECKED, seed=0))
    return likeness(source, goals.similarity, replace(options, samples=MOST), besides)


@contextmanager
def _folder(place: Output) -> Iterator[Path]:
    """Where candidates are made: `NAME-search`, which stays where the search did not come to an end of its own.

    Raises FactcliError where something of others has that name.
    """
    work = place.beside(SEARCH)
    check_own(work)
    work.mkdir(exist_ok=True)
    try:
        yield work
    except FactcliError:
        shutil.rmtree(work)
        raise
    shutil.rmtree(work)


def _identity(how: Conversion, source: Model, goals: Goals) -> dict[str, Any]:
    """What decides a candidate."""
    recipe, shipment, loss, healing = how.recipe, how.shipment, goals.loss, goals.healing
    files: list[str | Path | None] = [
        recipe.calibration,
        recipe.vocabulary,
        shipment.how.calibration if shipment else None,
    ]
    files += [loss.how.validation, loss.test] if loss else []
    files += [healing.texts] if healing else []
    there = [Path(name).expanduser() for name in files if name is not None]
    return {
        "version": __version__,
        "source": source.digest,
        "recipe": vars(recipe),
        "goal": goals.to_json() | {"measured": vars(loss.how) if loss else None},
        "healing": healing.steps if healing else None,
        "shipment": vars(shipment.how) if shipment else None,
        "files": [digest_of_files([file]) for file in there if file.is_file()],
        "device": how.device.type,
    }


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
