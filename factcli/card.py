"""The model card of an export."""

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard

from . import __version__
from .criteria import criteria
from .plan import Plan, format_count
from .recipe import FILE_NAME, Recipe
from .source import Source
from .structures import structures
from .tasks import GLUE

_UNTRAINED = "The model has not been trained since: its quality must be measured, and usually restored by fine-tuning."
_CARRIED = ("license", "license_name", "license_link", "language", "pipeline_tag", "datasets")


def make_card(
    source: Source, recipe: Recipe, plan: Plan, auto_class: str, sizes: tuple[int, int], trained: str = ""
) -> str:
    """README.md: metadata carried over from the source's card, sizes, how to load it, what was done. `trained` says how
    it was trained since, if it was."""
    structure, criterion = structures[recipe.method], criteria[recipe.criterion]
    metadata = {k: v for k, v in _metadata(source.path / "README.md").items() if k in _CARRIED}
    metadata |= {"library_name": "transformers", "tags": ["factcli", "factorized", recipe.method]}
    if source.repo_id:
        metadata["base_model"] = source.repo_id
    name = source.provenance()["model"]
    before, after = plan.parameters_before, plan.parameters_after
    kept = plan.targets_after / plan.targets_before
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip()}
---

# {name}, factorized ({structure.title})

{len(plan.factorized)} of {len(plan.layers)} weight matrices of `{name}` are {structure.title} products.

| | before | after | ratio |
|---|---|---|---|
| parameters | {format_count(before)} | {format_count(after)} | {after / before:.1%} |
| of the targeted matrices | {format_count(plan.targets_before)} | {format_count(plan.targets_after)} | {kept:.1%} |
| bytes | {sizes[0]:,} | {sizes[1]:,} | {sizes[1] / sizes[0]:.1%} |

{trained or _UNTRAINED}

## Load

```python
from transformers import {auto_class}, AutoTokenizer

model = {auto_class}.from_pretrained("PATH_OR_ID", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("PATH_OR_ID", trust_remote_code=True)
```

`trust_remote_code=True` runs `modeling_factorized.py` and `configuration_factorized.py` of this repository; they need
nothing but torch and transformers. On the Hub, pin them with `revision="<commit>"`.

## Made with

factcli {__version__} and this recipe; `{FILE_NAME}` in this repository repeats it:

```yaml
{yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True).strip()}
```

- {structure.title}: {structure.paper}
- {criterion.title}: {criterion.paper}
"""


def _metadata(path: Path) -> dict[str, Any]:
    try:
        match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", path.read_text(encoding="utf-8"), re.DOTALL)
        values = yaml.safe_load(match[1]) if match else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # a source without a readable card has no metadata to carry over
    return values if isinstance(values, dict) else {}


_RESULTS = ("<!-- factcli eval: begin -->", "<!-- factcli eval: end -->")


def update_results(
    card: Path, results: list[dict[str, Any]], name: str | None = None, pipeline_tag: str | None = None
) -> None:
    """Put evaluation results (as `eval --json` prints them, fractions of one) into a card, as a table and as
    model-index metadata, in place of those that an earlier call put there. A card that is not there is made. `name` of
    the model is the directory's by default."""
    text = (
        card.read_text(encoding="utf-8")
        if card.is_file()
        else f"---\nlibrary_name: transformers\n---\n\n# {card.parent.name}\n"
    )
    rows = [
        "| {task} | {split} | {examples} | {scores} | {majority} |".format(
            task=r["task"], split=r["split"], examples=r["examples"],
            scores=", ".join(f"{name} {value:.4f}" for name, value in r["metrics"].items()),
            majority="" if r["majority"] is None else f"{r['majority']:.4f}",
        )
        for r in results
    ]  # fmt: skip
    table = "\n".join(["| task | split | examples | metrics | majority class |", "|---|---|---|---|---|", *rows])
    section = f"{_RESULTS[0]}\n## Results\n\n{table}\n{_RESULTS[1]}"
    pattern = re.escape(_RESULTS[0]) + ".*?" + re.escape(_RESULTS[1])
    if re.search(pattern, text, re.DOTALL):
        text = re.sub(pattern, lambda _: section, text, count=1, flags=re.DOTALL)
    else:
        text = text.rstrip("\n") + f"\n\n{section}\n"
    parsed = ModelCard(text, ignore_metadata_errors=True)
    data: Any = parsed.data
    data.model_name = name or data.model_name or card.parent.resolve().name
    data.pipeline_tag = pipeline_tag or data.pipeline_tag
    data.eval_results = [
        EvalResult(
            task_type="text-classification", dataset_type="glue" if r["task"] in GLUE else r["task"],
            dataset_name=r["task"], dataset_split=r["split"], metric_type=name, metric_value=value,
        )
        for r in results for name, value in r["metrics"].items()
    ]  # fmt: skip
    part = card.with_name(f"{card.name}.partial")
    part.write_text(str(parsed), encoding="utf-8")
    part.replace(card)
