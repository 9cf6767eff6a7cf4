"""What bench measured, as tables for people, on stdout."""

from typing import Any

from ..recipe.values import format_count
from .console import line
from .tables import alike, columns, show, wrapped

_CELL = ("backend", "precision", "batch", "tokens", "variant")


def measured(result: dict[str, Any]) -> None:
    """The ratios to the baseline, then what was measured, and how."""
    if result["ratios"]:
        _ratios(result["ratios"])
        line("")
    centre = "mean" if result["protocol"] == "paper" else "median"
    results = result["results"]
    table = columns(
        "model", *_CELL, f"{centre} ms", "p10", "p90", "tokens/s", "disk MB", "peak MB", "GFLOPs", "parameters",
        keys=6,
    )  # fmt: skip
    times = [r["latency_ms"] for r in results]
    numbers = zip(*(alike([t[key] for t in times]) for key in (centre, "p10", "p90")), strict=True)
    costs = zip(
        alike([r["bytes"] / 1e6 for r in results]), alike([r["peak_memory_bytes"] / 1e6 for r in results]),
        alike([r["flops"] / 1e9 for r in results]), strict=True,
    )  # fmt: skip
    for r, latency, cost in zip(results, numbers, costs, strict=True):
        name = r["model"] + (" (baseline)" if r["baseline"] else "")
        table.add_row(name, *_cell(r, r["dtype"]), *latency, f"{r['tokens_per_second']:,.0f}", *cost,
                      format_count(r["parameters"]))  # fmt: skip
    show(table)
    wrapped(_conditions(result))


def _ratios(ratios: list[dict[str, Any]]) -> None:
    line("Times cheaper than the baseline:")
    table = columns("model", *_CELL, "speed-up", "p10", "p90", "", "disk", "memory", "FLOPs", "parameters", keys=6)
    keys = ("bytes_ratio", "memory_ratio", "flops_ratio", "parameters_ratio")
    for r in ratios:
        speed = (f"{r[key]:.2f}" for key in ("speedup", "speedup_p10", "speedup_p90"))
        verdict = "faster" if r["faster"] else "not faster"
        cell = _cell(r, r["precision"] or "")
        table.add_row(r["model"], *cell, *speed, verdict, *(f"{r[key]:.2f}" for key in keys))
    show(table)
    for r in ratios:
        if not r["faster"]:
            size = f"{r['batch_size']} x {r['sequence_length']} tokens, {r['variant']}"
            wrapped(f"{r['model']} is not faster at {size}: {r['why']}.")


def _conditions(result: dict[str, Any]) -> str:
    """What the numbers hold for, in one line."""
    device = result["device_name"] or f"{result['device']}, {result['cores']} cores"
    parts = [
        device,
        f"{result['threads']} thread{'s' * (result['threads'] > 1)}",
        "/".join(sorted({r["dtype"] for r in result["results"]})),
    ]
    if result["device_name"]:
        parts.append(f"float32 products at precision {result['float32_matmul_precision']!r}")
    if result["compile_mode"]:
        parts.append(f"torch.compile mode {result['compile_mode']!r}")
    counts = sorted({len(r["samples_ms"]) for r in result["results"]})
    rounds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    how = (
        "protocol paper: 8 runs over 100 examples, two omitted"
        if result["protocol"] == "paper"
        else f"models in turns, {rounds} rounds"
    )
    return ", ".join([*parts, f"torch {result['torch']}", how])


def _cell(r: dict[str, Any], precision: str) -> tuple[str, ...]:
    return r["backend"], precision, str(r["batch_size"]), str(r["sequence_length"]), r["variant"]


def compared(result: dict[str, Any]) -> None:
    """What `frontier` found: a row a model and runtime, marked where no other beats it."""
    results = result["results"]
    table = columns("model", "backend", "precision", result["metric"], "lost", "MB", "ms", "faster", "best by", keys=3)
    timed = [r for r in results if r["milliseconds"] is not None]
    times = dict(zip(map(id, timed), alike([r["milliseconds"] for r in timed]), strict=True))
    for r, size in zip(results, alike([r["bytes"] / 1e6 for r in results]), strict=True):
        best = [name for name, key in (("MB", "bytes"), ("ms", "milliseconds")) if r["optimal"][key]]
        faster = f"{r['speedup']:.2f}" if id(r) in times else ""
        name = r["said"] + (", healed" if r["healed"] else "")
        table.add_row(name, r["backend"], r["precision"], f"{r['score']:.4f}", f"{r['lost']:.2f}", size,
                      times.get(id(r), ""), faster, ", ".join(best))  # fmt: skip
    show(table)
    size = f"{result['batch_size']} x {result['sequence_length']} tokens"
    how = f"{size}, in turns with the dense model in PyTorch" if timed else "not timed"
    wrapped(f"{result['rows']} rows; {how}.")
