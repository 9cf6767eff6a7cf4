"""What bench measured, as tables for people, on stdout."""

from typing import Any

from rich.console import Console

from ..recipe.values import format_count
from .tables import columns, show


def measured(result: dict[str, Any]) -> None:
    """How it was measured, the figures, then the ratios to the baseline."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    out.print(_conditions(result))
    centre = "mean" if result["protocol"] == "paper" else "median"
    table = columns(
        "model", "backend", "dtype", "batch", "tokens", "variant", f"{centre} ms", "p10", "p90", "tokens/s", "GFLOPs",
        "peak MB", "disk MB", "parameters",
    )  # fmt: skip
    for r in result["results"]:
        times = [_short(r["latency_ms"][key]) for key in (centre, "p10", "p90")]
        table.add_row(
            r["model"] + (" (baseline)" if r["baseline"] else ""), r["backend"], r["dtype"], *_cell(r), *times,
            f"{r['tokens_per_second']:,.0f}", _short(r["flops"] / 1e9), _short(r["peak_memory_bytes"] / 1e6),
            _short(r["bytes"] / 1e6), format_count(r["parameters"]),
        )  # fmt: skip
    show(table)
    if not result["ratios"]:
        return
    out.print("\nTimes cheaper than the baseline:")
    table = columns(
        "model",
        "backend",
        "precision",
        "batch",
        "tokens",
        "variant",
        "speed-up",
        "p10",
        "p90",
        "FLOPs",
        "memory",
        "disk",
        "parameters",
        "",
    )
    for r in result["ratios"]:
        keys = ("speedup", "speedup_p10", "speedup_p90", "flops_ratio", "memory_ratio", "bytes_ratio",
                "parameters_ratio")  # fmt: skip
        verdict = "faster" if r["faster"] else "not faster"
        table.add_row(
            r["model"], r["backend"], r["precision"] or "", *_cell(r), *(f"{r[key]:.2f}" for key in keys), verdict
        )
    show(table)
    for r in result["ratios"]:
        if not r["faster"]:
            size = f"{r['batch_size']} x {r['sequence_length']} tokens, {r['variant']}"
            out.print(f"{r['model']} is not faster at {size}: {r['why']}.")


def _conditions(result: dict[str, Any]) -> str:
    """What the numbers hold for, in one line."""
    device = result["device_name"] or f"{result['device']}, {result['cores']} cores"
    parts = [device, f"{result['threads']} threads", "/".join(sorted({r["dtype"] for r in result["results"]}))]
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


def _cell(r: dict[str, Any]) -> tuple[str, str, str]:
    return str(r["batch_size"]), str(r["sequence_length"]), r["variant"]


def _short(value: float) -> str:
    """About three digits, all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def compared(result: dict[str, Any]) -> None:
    """What `frontier` found, within 100 columns: a row a model and runtime, marked where no other beats it."""
    table = columns("model", "backend", "precision", "MB", "ms", "faster", result["metric"], "lost", "best by")
    table.columns[-1].justify = "left"
    for r in result["results"]:
        best = [name for name, key in (("MB", "bytes"), ("ms", "milliseconds")) if r["optimal"][key]]
        timed = ["", ""] if r["milliseconds"] is None else [_short(r["milliseconds"]), f"{r['speedup']:.2f}"]
        table.add_row(
            r["said"] + (", healed" if r["healed"] else ""), r["backend"], r["precision"], f"{r['bytes'] / 1e6:.1f}",
            *timed, f"{r['score']:.4f}", f"{r['lost']:.2f}", ", ".join(best),
        )  # fmt: skip
    show(table)
    out = Console(soft_wrap=True, highlight=False, markup=False)
    size = f"{result['batch_size']} x {result['sequence_length']} tokens"
    timed_so = (
        f"{size}, in turns with the dense model in PyTorch"
        if result["results"][0]["milliseconds"] is not None
        else "not timed"
    )
    out.print(f"\n{result['rows']} rows; {timed_so}.")
