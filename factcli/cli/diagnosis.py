"""What diagnose found, for people, on stdout: the verdict first."""

from typing import Any

from .console import line
from .tables import columns, show, wrapped

WORST = 5
KEEP = "0.25"  # share of a target's parameters at which errors are shown
READ_ON = 'Read on: "Why plain SVD fails" in the documentation (docs/explanation/plain-svd.md).'


def diagnosis(result: dict[str, Any], every: bool = False) -> None:
    """Whether plain SVD will do and what to take instead, then the targets that lose most by it, or `every` one."""
    wrapped(result["verdict"])
    line("")
    layers = result["layers"]
    known = "times" in layers[0]
    shown = layers if every else sorted(layers, key=_badness, reverse=True)[:WORST]
    _all(shown, known) if every else _worst(shown, known, result["compared"])
    left = len(layers) - len(shown)
    line("")
    if known and not every:
        wrapped(
            f"Errors are relative, in the norm of {result['compared'][1]}, with {KEEP} of a target's parameters kept; "
            "uneven is the variance of its Fisher information over the squared mean: above 1 some weights matter far "
            "more than others."
        )
    else:
        wrapped(f"Errors are relative, each in its criterion's own norm, with {KEEP} of a target's parameters kept.")
    if left:
        wrapped(f"--all shows the other {left} targets, --json every error at every rank, --plot the curves.")
    wrapped(READ_ON)


def _badness(layer: dict[str, Any]) -> float:
    """How much plain SVD loses; where that is not known, how many singular values it would need."""
    return float(layer["times"] if "times" in layer else layer["rank_90"] / min(layer["shape"]))


def _at(layer: dict[str, Any], criterion: str) -> str:
    return f"{layer['errors'][criterion][layer['ranks'].index(layer['keeps'][KEEP])]:.3f}"


def _needed(layer: dict[str, Any]) -> str:
    return f"{layer['rank_90'] / min(layer['shape']):.0%}"


def _worst(layers: list[dict[str, Any]], known: bool, compared: list[str]) -> None:
    if not known:
        table = columns("hardest for plain SVD", "rank kept", "error", "values for 90 %")
        for layer in layers:
            table.add_row(layer["name"], str(layer["keeps"][KEEP]), _at(layer, compared[0]), _needed(layer))
        show(table)
        return
    table = columns("worst for plain SVD", "times worse", "plain SVD", compared[1], "uneven", "rank kept")
    for layer in layers:
        plain = layer["svd_errors"][list(layer["keeps"]).index(KEEP)]
        table.add_row(layer["name"], f"{layer['times']:.1f}", f"{plain:.3f}", _at(layer, compared[1]),
                      f"{layer['fisher_variance']:.1f}", str(layer["keeps"][KEEP]))  # fmt: skip
    show(table)


def _all(layers: list[dict[str, Any]], known: bool) -> None:
    criteria, more = list(layers[0]["errors"]), ("times worse", "uneven") if known else ()
    table = columns("target", *more, *criteria, "values for 90 %", "rank kept", "shape")
    for layer in layers:
        m, n = layer["shape"]
        spread = [f"{layer['times']:.1f}", f"{layer['fisher_variance']:.1f}"] if known else []
        table.add_row(layer["name"], *spread, *(_at(layer, name) for name in criteria), _needed(layer),
                      str(layer["keeps"][KEEP]), f"{m} x {n}")  # fmt: skip
    show(table)
