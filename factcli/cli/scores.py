"""Scores as tables for people, on stdout."""

from typing import Any

from .console import line
from .tables import columns, show


def evaluated(results: list[dict[str, Any]]) -> None:
    """Models side by side."""
    metrics = list(dict.fromkeys(name for r in results for name in r["metrics"]))  # of models of several kinds
    table = columns("model", *metrics, "majority", "", "seconds", "examples", "task", "split")
    for r in results:
        majority = "" if r["majority"] is None else f"{r['majority']:.4f}"
        scores = [f"{r['metrics'][name]:.4f}" if name in r["metrics"] else "" for name in metrics]
        said = "failed run" if r["failed_run"] else ""
        where = (str(r["examples"]), r["task"], r["split"])
        table.add_row(r["model"], *scores, majority, said, f"{r['seconds']:.1f}", *where)
    show(table)


def finetuned(result: dict[str, Any]) -> None:
    """One run, or one row a seed and their summary; before it the learning rates that were tried."""
    runs = result.get("runs", [result])
    if runs[0]["search"]:
        rates = columns("learning rate", "training loss", "")
        for entry in sorted(runs[0]["search"], key=lambda entry: -entry["learning_rate"]):
            chosen = "chosen" if entry["learning_rate"] == runs[0]["learning_rate"] else ""
            loss = "diverged" if entry["loss"] is None else f"{entry['loss']:.4f}"
            rates.add_row(f"{entry['learning_rate']:g}", loss, chosen)
        show(rates)
        line("")
    metrics = next((list(r["metrics"]) for r in runs if r["metrics"]), [])
    table = columns("seed", *metrics, "majority", "", "seconds", "steps", "rate", "schedule")
    for r in runs:
        scores = [f"{r['metrics'][name]:.4f}" if r["metrics"] else "diverged" for name in metrics]
        majority = "" if r["majority"] is None else f"{r['majority']:.4f}"
        said = "failed run" if r["failed_run"] else ""
        how = (str(r["steps"]), f"{r['learning_rate']:g}", r["schedule"])
        table.add_row(str(r["seed"]), *scores, majority, said, f"{r['seconds']:.1f}", *how)
    if "summary" in result:
        s = result["summary"]
        rest = [""] * 6
        for title, key in (("mean", "mean"), ("deviation", "deviation"), ("mean of successful", "mean_successful")):
            scores = ["" if s[key].get(name) is None else f"{s[key][name]:.4f}" for name in metrics]
            if any(scores):
                table.add_row(title, *scores, *rest)
        if s["failed_runs"]:
            table.add_row("failed runs", *[""] * len(metrics), "", f"{s['failed_runs']} of {len(runs)}", *rest[2:])
    show(table)
