"""docs/reference/json.md, from the JSON schemas of what commands print: docs/reference/schemas/COMMAND.json.

The schemas are written by hand, with a description of every key, and tests hold what commands print to them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference" / "schemas"
PAGE = ROOT / "docs" / "reference" / "json.md"
_HEAD = """# JSON

Made by `python -m pages` from the schemas beside this page (JSON Schema, draft 2020-12), which tests hold to what the
commands print. With `--json` a command prints one document on stdout, and nothing else there. From Python the same
comes back as dictionaries and lists. A key in *italics* is there only at times: its meaning says when.
"""


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each command, by its name, with what it takes from shared.json in it."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    texts = {name: text.replace('"shared.json#', '"#') for name, text in texts.items()}
    shared = json.loads(texts.pop("shared"))
    return {name: json.loads(texts[name]) | {"$defs": shared["$defs"]} for name in sorted(texts)}


def page() -> str:
    lines = [_HEAD]
    for name, schema in schemas().items():
        link = f"Schema: [schemas/{name}.json](schemas/{name}.json)"
        lines += [f"## {name}", "", schema["description"], "", link, ""]
        lines += ["| key | type | meaning |", "|---|---|---|", *_rows(schema, schema["$defs"], ""), ""]
    return "\n".join(lines)


def _rows(schema: dict[str, Any], shared: dict[str, Any], path: str) -> Iterator[str]:
    """A row for each key, those of inner objects after the key that holds them."""
    schema = _resolved(schema, shared)
    for name, entry in schema.get("properties", {}).items():
        about = _resolved(entry, shared)
        key = f"{path}{name}"
        shown = f"`{key}`" if name in schema.get("required", ()) else f"*`{key}`*"
        yield f"| {shown} | {_kind(about, shared)} | {about.get('description', '')} |"
        yield from _rows(about, shared, f"{key}.")
        yield from _rows(about.get("items", {}), shared, f"{key}[].")
    for inner in schema.get("anyOf", ()):
        yield from _rows(inner, shared, path)
    if path == "":
        yield from _rows(schema.get("items", {}), shared, "[].")


def _resolved(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to; its own description wins."""
    if "$ref" in schema:
        return shared[schema["$ref"].rpartition("/")[2]] | {k: v for k, v in schema.items() if k != "$ref"}
    return schema


def _kind(schema: dict[str, Any], shared: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    names = [kind] if isinstance(kind, str) else list(kind)
    if "array" in names and "items" in schema:
        names[names.index("array")] = f"array of {_kind(_resolved(schema['items'], shared), shared)}"
    return " or ".join(names)
