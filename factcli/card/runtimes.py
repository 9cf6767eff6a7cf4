"""Files for runtimes in what is said of a model: its recipe file (provenance, hashes) and its card (a table, and the
lines that run one)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files.atomic import updating, write_text
from ..files.digests import digest_of_files
from ..files.written import RECIPE
from ..models.model import Model
from .provenance import versions
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
        write_text(card, join_card(metadata, put_section(body, RUNTIMES, _section(made[_KEY], folder))))


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


def _section(entries: Sequence[Entry], folder: Path) -> str:
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
    return "\n".join([*lines, *_how_to(entries, folder)])


def _how_to(entries: Sequence[Entry], folder: Path) -> list[str]:
    """The lines that run the first file of each format; of embedding models with the mean over the tokens."""
    made: list[str] = []
    for kind, (package, load, run) in _RUNTIMES.items():
        first = next((e for e in entries if e["format"] == kind), None)
        if (
            first is None
            or not (folder / "tokenizer.json").is_file()
            or "decoder_input_ids" in (first.get("reads") or {"inputs": ["decoder_input_ids"]})["inputs"]
        ):
            continue
        reads, given = (
            first["reads"],
            {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"},
        )
        output = reads["outputs"][0]
        lines = [
            "import numpy as np",
            f"import {package}",
            "from tokenizers import Tokenizer",
            "",
            'tokenizer = Tokenizer.from_file("tokenizer.json")',
            f"tokenizer.enable_truncation(max_length={reads['max_length']})",
            f"tokenizer.enable_padding(pad_id={reads['pad_id']}, pad_token={json.dumps(reads['pad_token'])})",
            load.format(file=first["path"]),
            "",
            'texts = tokenizer.encode_batch(["A first text.", "A second one, which is longer."])',
            "inputs = {",
            *(
                f'    "{name}": np.array([text.{given[name]} for text in texts], dtype=np.int64),'
                for name in reads["inputs"]
            ),
            "}",
            f"{_CALLED.get(output, output)} = {run.format(output=output)}",
            *(_MEAN if output == "last_hidden_state" and "attention_mask" in reads["inputs"] else ()),
        ]
        made += ["```python", *lines, "```", ""]
    return made


_CALLED = {"last_hidden_state": "hidden"}
_MEAN = (
    'mask = inputs["attention_mask"][..., None]',
    "embeddings = (hidden * mask).sum(1) / mask.sum(1)",
    "embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)",
)
_RUNTIMES = {  # format -> package, how a file is loaded, how it is run
    "onnx": ("onnxruntime", 'model = onnxruntime.InferenceSession("{file}")', 'model.run(["{output}"], inputs)[0]'),
    "openvino": ("openvino", 'model = openvino.compile_model("{file}", "CPU")', 'model(inputs)["{output}"]'),
}
