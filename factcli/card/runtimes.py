"""Files for runtimes in what is said of a model: its recipe file (provenance, hashes) and its card (a table, and the
lines that run one)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files.atomic import updating, write_text
from ..files.digests import digest_of_files
from ..files.written import RECIPE
from ..models.model import Model
from .provenance import versions
from .snippets import snippets
from .text import RUNTIMES, join_card, put_section, split_card

Entry = dict[str, Any]
_KEY = "runtimes"  # in the section made_with of a recipe file


def record(folder: Path, entries: Sequence[Entry], source: Model | None = None) -> None:
    """Put files that were written into the recipe and the card of the model in `folder`, in place of what was said of
    files of the same names. Of a directory that is new, `source` is what they were made from."""
    recipe, card = folder / RECIPE, folder / "README.md"
    if source is None and not recipe.is_file():
        return  # it is not of factcli: nothing of it is changed
    with updating(recipe):
        values = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
        made = values.setdefault("made_with", source.provenance() | versions() if source is not None else {})
        names = {e["path"] for e in entries}
        made[_KEY] = [e for e in made.get(_KEY) or [] if e["path"] not in names] + list(entries)
        if "files" in made:
            made["files"] = sorted({*made["files"], *(part for e in entries for part in e["parts"])})
        write_text(recipe, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    with updating(card):
        name = source.provenance()["model"] if source is not None else folder.resolve().name
        text = card.read_text(encoding="utf-8") if card.is_file() else f"---\ntags:\n- factcli\n---\n\n# {name}\n"
        metadata, body = split_card(text)
        section = _section(made[_KEY], folder, source.path if source is not None else folder)
        write_text(card, join_card(metadata, put_section(body, RUNTIMES, section)))


def recorded(folder: Path) -> list[Entry]:
    """What the recipe file of a model says of its files for runtimes; nothing where it cannot be read."""
    try:
        found = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))["made_with"][_KEY]
        return [e for e in found if isinstance(e, dict) and isinstance(e.get("parts"), list) and "path" in e]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def state(folder: Path, entry: Entry) -> str:
    """Whether a file is "as written", "changed" since, or "missing"."""
    parts = [folder / str(part) for part in entry["parts"]]
    if not all(part.is_file() for part in parts):
        return "missing"
    return "as written" if digest_of_files(parts) == entry.get("sha256") else "changed"


def _section(entries: Sequence[Entry], folder: Path, trained: Path) -> str:
    rows = []
    for e in entries:
        checked = e["checked"]
        apart = [f"largest difference {checked['max_difference']:.2g}"]
        apart += [f"agreement {checked['agreement']:.4f}"] if "agreement" in checked else []
        apart += [f"{name} {value:.4f}" for name, value in checked.get("metric", {}).items()]
        apart += [f"{checked['loss']:+.2f} points lost"] if "loss" in checked else []
        rows.append(f"| `{e['path']}` | {e['precision']} | {e['bytes'] / 1e6:.1f} | {', '.join(apart)} |")
    lines = [
        "## Without PyTorch",
        "",
        "These files need neither PyTorch nor factcli, and run no code of this repository: only their graphs.",
        "",
        "| file | precision | MB | beside the PyTorch model |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join([*lines, *snippets(entries, folder, trained)])
