"""How `sweep` is printed."""

from typing import Any

from . import console


def listed(result: dict[str, Any], planned: bool, quiet: bool) -> None:
    """A line a run, then how many there are of each state."""
    if not quiet:
        for run in result["runs"]:
            console.line(f"{run['state']:<8} {run['id']}  {run['name']}{_said(run, planned)}")
    totals = result["totals"]
    counts = ", ".join(f"{count} {state}" for state, count in totals.items() if state != "runs" and count)
    console.line(f"{totals['runs']} runs: {counts}.")


def _said(run: dict[str, Any], planned: bool) -> str:
    if run.get("error"):
        return f": {run['error']}"
    found = run["result"] or {}
    if planned and "parameters" in found:
        return f": {found['parameters']['before'] / 1e6:.2f}M -> {found['parameters']['after'] / 1e6:.2f}M parameters"
    metrics = found.get("metrics") or {}
    said = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, (int, float)))
    return f": {said}{' (a failed run)' if found.get('failed_run') else ''}" if said else ""
