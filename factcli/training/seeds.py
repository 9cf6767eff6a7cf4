"""Several seeds: one summary, failed runs counted apart."""

from statistics import mean, stdev
from typing import Any


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and (sample) deviation of each metric over all runs, and the mean over the successful ones alone.

    The seed paper reports the latter (section 4.1), which flatters what fails often: hence both, and the count. A run
    that diverged has no metrics and counts as failed.
    """
    finished = [run for run in runs if run["metrics"]]
    good = [run for run in finished if not run["failed_run"]]
    names = list(finished[0]["metrics"]) if finished else []
    return {
        "seeds": [run["seed"] for run in runs],
        "failed_runs": sum(run["failed_run"] for run in runs),
        "mean": {name: mean(run["metrics"][name] for run in finished) for name in names},
        "deviation": {
            name: stdev(run["metrics"][name] for run in finished) if len(finished) > 1 else 0.0 for name in names
        },
        "mean_successful": {name: mean(run["metrics"][name] for run in good) if good else None for name in names},
    }
