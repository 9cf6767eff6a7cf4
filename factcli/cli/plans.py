"""What a conversion planned and made, as tables for people, on stdout."""

from typing import Any

from ..recipe.values import format_count
from .console import line
from .tables import columns, show, wrapped


def plan_table(result: dict[str, Any]) -> None:
    """The totals of a plan, then its layers."""
    totals(result)
    if result["layers"]:
        line("")
        layers_table(result["layers"])


def layers_table(layers: list[dict[str, Any]]) -> None:
    """One row a target; below, why some stay dense."""
    table = columns("target", "becomes", "rank", "blocks", "parameters", "shape")
    for layer in layers:
        m, n = layer["shape"]
        table.add_row(layer["name"], layer["structure"], str(layer["rank"] or ""), str(layer["blocks"] or ""),
                      f"{layer['parameters']:,}", f"{m} x {n}")  # fmt: skip
    show(table)
    reasons: dict[str, list[str]] = {}
    for layer in layers:
        if "reason" in layer:
            reasons.setdefault(layer["reason"], []).append(layer["name"])
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        wrapped(f"Dense stays {names[0]}{more}: {reason}.", 2)


def totals(result: dict[str, Any]) -> None:
    """Whole model, targets and parts, before and after."""
    table = columns("", "before", "after", "kept")
    if "vocabulary" in result:
        before, after = result["vocabulary"]["before"], result["vocabulary"]["after"]
        table.add_row("tokens", f"{before:,}", f"{after:,}", _share(before, after))
    for name, key in (("parameters", "parameters"), ("of targets", "targets")):
        before, after = result[key]["before"], result[key]["after"]
        table.add_row(name, format_count(before), format_count(after), _share(before, after))
    for name, sizes in {
        "MB": result["bytes"],
        **{f"  {part}": sizes for part, sizes in result["parts"].items()},
    }.items():
        before, after = sizes["before"], sizes["after"]
        table.add_row(name, f"{before / 1e6:.2f}", f"{after / 1e6:.2f}", _share(before, after))
    show(table)


def _share(before: int, after: int) -> str:
    return f"{after / before:.1%}" if before else ""


def searched(search: dict[str, Any]) -> None:
    """What is reported of the candidate taken, then all of a search, the smallest first."""
    if "ms" in search:
        goal = search["goal"]
        wrapped(f"{search['ms']:.2f} ms for {goal['batch_size']} x {goal['sequence_length']} tokens.")
    if "loss" in search:
        low, high = search["interval"]
        wrapped(
            f"On {search['rows']['report']} rows that nothing was chosen by it loses {search['loss']:.2f} points of "
            f"{search['metric']}; dense {search['dense']['report']:.4f}. On as many others it would be {low:.2f} to "
            f"{high:.2f}, with 95 %."
        )
    line("")
    table = columns("kept", "MB", "points lost", "ms", "seconds", "")
    for one in sorted(search["candidates"], key=lambda c: c["keep"]):
        taken = "taken" if one["keep"] == search["keep"] else ""
        lost, ms = ("" if one[key] is None else f"{one[key]:.2f}" for key in ("loss", "ms"))
        table.add_row(f"{one['keep']:.4f}", f"{one['bytes'] / 1e6:.2f}", lost, ms, f"{one['seconds']:.1f}", taken)
    show(table)
    line("")


def exported(files: list[dict[str, Any]]) -> None:
    """Files for runtimes, and how they compare with the model."""
    table = columns("file", "precision", "MB", "points lost", "metric", "agreement", "largest difference")
    for file in files:
        checked = file["checked"]
        agreement, loss = (
            "" if checked[k] is None else f"{checked[k]:.{digits}f}" for k, digits in (("agreement", 4), ("loss", 2))
        )
        metric = ", ".join(f"{name} {value:.4f}" for name, value in (checked["metric"] or {}).items())
        table.add_row(file["path"], file["precision"], f"{file['bytes'] / 1e6:.1f}", loss, metric, agreement,
                      f"{checked['max_difference']:.2g}")  # fmt: skip
    show(table)
