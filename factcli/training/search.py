"""The seed paper's search for a learning rate (section 4.1)."""

import math
from dataclasses import replace
from typing import Any

from ..errors import FactcliError
from ..recipe.training import RATES
from .events import Event, Watch
from .job import Job
from .run import Options, is_main, train


def search_rate(job: Job, seed: int, options: Options, watch: Watch) -> tuple[float, list[dict[str, Any]]]:
    """The rate with the smallest mean training loss after one epoch, and {"learning_rate", "loss"} for each.

    Every rate starts from the same model and goes through the same stages; the epoch is the main phase. The loss of a
    rate that diverged is None. Raises FactcliError where all do.
    """
    found: list[dict[str, Any]] = []
    quiet = replace(options, how=options.how.but(save_steps=0, resume=False, report_to="none"))
    for number, rate in enumerate(RATES, 1):
        loss = train(job, seed, rate, quiet, watch, epochs=1).final_loss
        found.append({"learning_rate": rate, "loss": loss if math.isfinite(loss) else None})
        if is_main():
            said = f"loss {loss:.4f}" if math.isfinite(loss) else "diverged"
            watch(Event("search", f"rate {number} of {len(RATES)}: {rate:g}, {said}"))
    finite = [entry for entry in found if entry["loss"] is not None]
    if not finite:
        raise FactcliError("Training diverges with every learning rate of the search: look at the data and the model.")
    return float(min(finite, key=lambda entry: entry["loss"])["learning_rate"]), found
