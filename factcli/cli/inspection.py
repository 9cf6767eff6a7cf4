"""What is in an export, for people, on stdout."""

from typing import Any

from ..recipe.values import format_count
from .console import line
from .plans import layers_table
from .tables import wrapped

_HASH = 12  # digits of a sha256 that tell files apart; --json has all


def inspection(result: dict[str, Any]) -> None:
    """What it is and how large, where it came from, what it holds."""
    made, factorized = result["made_with"], result["format_version"] is not None
    kind = f"format {result['format_version']}" if factorized else "dense"
    wrapped(f"{', '.join(result['architectures'][:1]) or 'a model'} ({result['model_type']}, {kind})")
    if result["parameters"] is not None:
        _row("size", f"{format_count(result['parameters'])} parameters, {result['bytes']:,} bytes")
        _row("", "MB by part: " + ", ".join(f"{part} {size / 1e6:.2f}" for part, size in result["parts"].items()))
    if factorized:
        before, after = result["targets"]["before"], result["targets"]["after"]
        _row("targets", f"{format_count(before)} -> {format_count(after)} parameters ({after / before:.1%})")
    for file in result["runtimes"]:
        about = f"{file['precision'] or 'unknown precision'}, {file['bytes']:,} bytes, {file['state']}"
        _row("runtime", f"{file['path']}, {about}")
    _row("source", f"{made.get('model', 'unknown')} @ {made.get('revision') or 'no revision (local directory)'}")
    if result["recipe"]:
        _row("recipe", ", ".join(f"{k}: {v}" for k, v in result["recipe"].items()))
    steps, command = made.get("steps", []), made.get("command")
    for number, step in enumerate(steps):
        _row("" if number else "steps", step)
    if command:
        _row("command", command)
    apart = ("model", "revision", "steps", "command")
    pins = {k: v[:_HASH] if k.endswith("sha256") else v for k, v in made.items() if k not in apart}
    _row("made by", ", ".join(f"{k} {v}" for k, v in pins.items()) or "unknown")
    if result["auto_map"]:
        _row("loads as", ", ".join(result["auto_map"]))
    _row("files", ", ".join(result["files"]))
    if factorized:
        line("")
        layers_table(result["layers"])


def _row(name: str, text: str) -> None:
    wrapped(f"{name:8} {text}", 9)
