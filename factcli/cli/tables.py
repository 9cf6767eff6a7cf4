"""Results as tables for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

from ..recipe.values import format_count

TEXT = frozenset(
    {
        "",
        "advice",
        "backend",
        "file",
        "metric",
        "precision",
        "becomes",
        "dtype",
        "model",
        "part",
        "schedule",
        "seed",
        "split",
        "target",
        "task",
        "variant",
    }
)


def columns(*names: str) -> Table:
    """An empty table; columns of words on the left, of numbers on the right."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in TEXT else "right", no_wrap=True)
    return table


def show(table: Table) -> None:
    """On stdout, in whole lines however narrow the terminal."""
    Console(width=max(240, Console().width), highlight=False, markup=False).print(table, soft_wrap=True, crop=False)


def plan_table(result: dict[str, Any]) -> None:
    """The layers of a plan, then its totals, on stdout."""
    if result["layers"]:
        layers_table(result["layers"])
        Console().print()
    totals(result)


def layers_table(layers: list[dict[str, Any]]) -> None:
    """One row a target, on stdout."""
    table = columns("target", "shape", "becomes", "rank", "blocks", "parameters")
    for layer in layers:
        m, n = layer["shape"]
        becomes = layer["structure"] + (f" ({layer['reason']})" if "reason" in layer else "")
        table.add_row(layer["name"], f"{m} x {n}", becomes, str(layer["rank"] or ""), str(layer["blocks"] or ""),
                      f"{layer['parameters']:,}")  # fmt: skip
    show(table)


def totals(result: dict[str, Any]) -> None:
    """Both ratios, whole model and targets, and bytes, on stdout."""
    out = Console(soft_wrap=True, highlight=False)
    if "vocabulary" in result:
        before, after = result["vocabulary"]["before"], result["vocabulary"]["after"]
        out.print(f"{'tokens':8} {before:,} -> {after:,} ({after / before:.1%})")
    for name, key in (("model", "parameters"), ("targets", "targets")):
        before, after = result[key]["before"], result[key]["after"]
        out.print(f"{name:8} {format_count(before)} -> {format_count(after)} parameters ({after / before:.1%})")
    before, after = result["bytes"]["before"], result["bytes"]["after"]
    out.print(f"{'bytes':8} {before:,} -> {after:,} ({after / before:.1%})")
    table = columns("part", "MB before", "MB after", "")
    for part, sizes in result["parts"].items():
        before, after = sizes["before"], sizes["after"]
        share = f"{after / before:.1%}" if before else ""
        table.add_row(part, f"{before / 1e6:.2f}", f"{after / 1e6:.2f}", share)
    show(table)


def searched(search: dict[str, Any]) -> None:
    """The candidates of a search, the smallest first, and what is reported of the one taken, on stdout."""
    table = columns("kept", "MB", "points lost", "seconds", "")
    for one in sorted(search["candidates"], key=lambda c: c["keep"]):
        taken = "taken" if one["keep"] == search["keep"] else ""
        table.add_row(
            f"{one['keep']:.4f}", f"{one['bytes'] / 1e6:.2f}", f"{one['loss']:.2f}", f"{one['seconds']:.1f}", taken
        )
    show(table)
    low, high = search["interval"]
    Console(soft_wrap=True, highlight=False).print(
        f"On {search['rows']['report']} rows that nothing was chosen by it loses {search['loss']:.2f} points of "
        f"{search['metric']} (between {low:.2f} and {high:.2f}, with 95 %); {search['dense']['report']:.4f} dense."
    )


def exported(files: list[dict[str, Any]]) -> None:
    """Files for runtimes, and how they compare with the model, on stdout."""
    table = columns("file", "precision", "MB", "largest difference", "agreement", "metric", "points lost")
    for file in files:
        checked = file["checked"]
        agreement, loss = ("" if checked[k] is None else f"{checked[k]:.4f}" for k in ("agreement", "loss"))
        metric = ", ".join(f"{name} {value:.4f}" for name, value in (checked["metric"] or {}).items())
        table.add_row(file["path"], file["precision"], f"{file['bytes'] / 1e6:.1f}", f"{checked['max_difference']:.2g}",
                      agreement, metric, loss)  # fmt: skip
    show(table)


def inspection(result: dict[str, Any]) -> None:
    """An export: what it is, where it came from, what it holds."""
    out = Console(soft_wrap=True, highlight=False)
    made, factorized = result["made_with"], result["format_version"] is not None
    kind = f"format {result['format_version']}" if factorized else "dense"
    out.print(f"{', '.join(result['architectures'][:1]) or 'a model'} ({result['model_type']}, {kind})")
    out.print(f"source   {made.get('model', 'unknown')} @ {made.get('revision') or 'no revision (local directory)'}")
    pins = ", ".join(f"{k} {v}" for k, v in made.items() if k not in ("model", "revision"))
    out.print(f"made by  {pins or 'unknown'}")
    if result["recipe"]:
        out.print(f"recipe   {', '.join(f'{k}: {v}' for k, v in result['recipe'].items())}")
    if result["auto_map"]:
        out.print(f"loads as {', '.join(result['auto_map'])}")
    out.print(f"files    {', '.join(result['files'])}")
    if result["parameters"] is not None:
        out.print(f"size     {format_count(result['parameters'])} parameters, {result['bytes']:,} bytes")
        parts = ", ".join(f"{part} {size / 1e6:.2f}" for part, size in result["parts"].items())
        out.print(f"         MB by part: {parts}")
    if factorized:
        before, after = result["targets"]["before"], result["targets"]["after"]
        out.print(f"targets  {format_count(before)} -> {format_count(after)} parameters ({after / before:.1%})")
    for file in result["runtimes"]:
        about = f"{file['precision'] or 'unknown precision'}, {file['bytes']:,} bytes, {file['state']}"
        out.print(f"runtime  {file['path']}, {about}")
    if factorized:
        out.print()
        layers_table(result["layers"])


def diagnosis(result: dict[str, Any]) -> None:
    """One row a target with errors at a keep ratio of 0.25, then the verdict, on stdout."""
    layers = result["layers"]
    known = "fisher_variance" in layers[0]
    table = columns("target", "shape", "rank at 0.25", *layers[0]["errors"], *(["phi"] if known else []), "advice")
    for layer in layers:
        m, n = layer["shape"]
        rank = layer["keeps"]["0.25"]
        at = layer["ranks"].index(rank)
        errors = [f"{values[at]:.3f}" for values in layer["errors"].values()]
        spread = [f"{layer['fisher_variance']:.1f}"] if known else []
        table.add_row(layer["name"], f"{m} x {n}", str(rank), *errors, *spread, layer["advice"])
    show(table)
    out = Console(soft_wrap=True, highlight=False)
    out.print("\nErrors are relative, each in its criterion's own norm; phi is the Fisher variance.")
    out.print(result["verdict"])
