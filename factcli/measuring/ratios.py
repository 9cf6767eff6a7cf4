"""From samples to figures: percentiles, ratios to a baseline, and why a model is not faster."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .timing import Samples

FASTER = 1.05  # a speed-up below it is none
BREAK_EVEN = 1.1  # a FLOPs ratio below it promises none
RATIOS = {
    "flops_ratio": "flops",
    "memory_ratio": "peak_memory_bytes",
    "bytes_ratio": "bytes",
    "parameters_ratio": "parameters",
}


def latency(samples: Samples) -> dict[str, float]:
    """Median, 10th and 90th percentile (linear interpolation) and mean of all samples, in milliseconds."""
    every = [t for turn in samples for t in turn]
    p10, median, p90 = np.percentile(every, [10, 50, 90])
    return {"median": float(median), "p10": float(p10), "p90": float(p90), "mean": float(np.mean(every))}


def compare(model: dict[str, Any], baseline: dict[str, Any], centre: str) -> dict[str, Any]:
    """Two results of the same cell as ratios, baseline over model: above 1 the model is cheaper.

    In each round the baseline's time over the model's, both the `centre` of their turn, is one ratio; "speedup_p10" and
    "speedup_p90" are percentiles of these. "speedup" is their median, or with `centre` "mean" the ratio of the means
    over all rounds, as the paper has it.
    """
    of_turn: Callable[[list[float]], Any] = np.mean if centre == "mean" else np.median
    pairs = zip(baseline["samples_ms"], model["samples_ms"], strict=True)
    p10, median, p90 = np.percentile([of_turn(b) / of_turn(m) for b, m in pairs], [10, 50, 90])
    overall = baseline["latency_ms"]["mean"] / model["latency_ms"]["mean"] if centre == "mean" else median
    return {
        "model": model["model"],
        "baseline": baseline["model"],
        **{key: model[key] for key in ("backend", "precision", "batch_size", "sequence_length", "variant")},
        "speedup": float(overall),
        "speedup_p10": float(p10),
        "speedup_p90": float(p90),
        **{name: baseline[key] / model[key] for name, key in RATIOS.items()},
    }


def judge(ratios: list[dict[str, Any]]) -> None:
    """Add "faster", and "why" (None or a sentence) to every ratio. Faster is a speed-up of at least 1.05 that nine of
    ten rounds confirm."""
    for ratio in ratios:
        ratio["faster"] = ratio["speedup"] >= FASTER and ratio["speedup_p10"] > 1
    for ratio in ratios:
        same = [r for r in ratios if _way(r) == _way(ratio)]
        ratio["why"] = None if ratio["faster"] else _why(ratio, same)


def _why(ratio: dict[str, Any], same: list[dict[str, Any]]) -> str:
    """`same` are the ratios of the same model and variant at all sizes."""
    if ratio["flops_ratio"] < BREAK_EVEN:
        return f"rank near break-even: it does {1 / ratio['flops_ratio']:.0%} of the baseline's arithmetic"
    if ratio["speedup"] >= FASTER:
        return "within the noise: in one round of ten it was no faster; measure longer with --seconds or --runs"
    promised = f"its arithmetic promises {ratio['flops_ratio']:.2f} times"
    faster = [r for r in same if r["faster"]]
    larger = [r for r in faster if _tokens(r) > _tokens(ratio)]
    if larger:
        at = min(larger, key=_tokens)
        size = f"{at['batch_size']} x {at['sequence_length']} tokens"
        return f"batch too small: {promised}, and at {size} it is {at['speedup']:.2f} times as fast"
    taken = f"{promised}, but memory traffic and dispatch take the time"
    if faster:
        return f"{taken}: the batch is not too small, it is faster with fewer tokens"
    if any(_tokens(r) > _tokens(ratio) for r in same):
        return f"{taken}, with more tokens too"
    return f"{taken}: batch too small, or products too thin; a larger --batch-size tells"


def _way(ratio: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(ratio.get(key) for key in ("model", "backend", "precision", "variant"))


def _tokens(ratio: dict[str, Any]) -> int:
    return int(ratio["batch_size"] * ratio["sequence_length"])
