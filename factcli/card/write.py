"""The card of an export: what it is, how large, how it was made, how to load it, what to expect of it."""

from typing import Any

import yaml

from .. import __version__
from ..compress.criteria import criteria
from ..compress.plan import Plan, format_count
from ..compress.structures import structures
from ..recipe.old_recipe import FILE_NAME, Recipe
from ..source import Source
from .text import BEGIN, END, RESULTS, SPEED, carried, join_card, split_card

NAME = "PATH_OR_ID"  # in an export, until it is published under a name
REVISION = "COMMIT"
_UNTRAINED = "It has not been trained since: its quality must be measured, and usually restored by fine-tuning."
_PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForCausalLM": "text-generation",
    "AutoModel": "feature-extraction",
}


def make_card(
    source: Source,
    recipe: Recipe,
    plan: Plan,
    auto_class: str,
    sizes: tuple[int, int],
    made_with: dict[str, Any],
    trained: str = "",
) -> str:
    """README.md of a factorized model: metadata carried over from the source's card, then our text between its marks.

    `sizes` are bytes of the weights before and after, `made_with` the provenance, `trained` says how it was trained
    since, if it was.
    """
    structure, criterion = structures[recipe.method], criteria[recipe.criterion]
    shown = _linked(source)
    before, after = plan.parameters_before, plan.parameters_after
    kept = plan.targets_after / plan.targets_before
    text = f"""{BEGIN}
# {source.provenance()["model"]}, factorized ({structure.title})

A smaller {shown}: {len(plan.factorized)} of its {len(plan.layers)} weight matrices are {structure.title} products,
made by factcli {__version__} with the criterion `{recipe.criterion}` and `{recipe.allocation}` allocation.
{trained or _UNTRAINED}

| | before | after | ratio |
|---|---|---|---|
| parameters | {format_count(before)} | {format_count(after)} | {after / before:.1%} |
| of the targeted matrices | {format_count(plan.targets_before)} | {format_count(plan.targets_after)} | {kept:.1%} |
| bytes of the weights | {sizes[0]:,} | {sizes[1]:,} | {sizes[1] / sizes[0]:.1%} |

{RESULTS[0]}
{RESULTS[1]}
{SPEED[0]}
{SPEED[1]}

## Load

```python
from transformers import {auto_class}, AutoTokenizer

name, revision = "{NAME}", "{REVISION}"
model = {auto_class}.from_pretrained(name, revision=revision, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=True)
```

The revision pins weights and code: take a commit from this repository's history. A directory needs none.

`trust_remote_code=True` runs the two Python files of this repository. `configuration_factorized.py` names the
configuration classes; `modeling_factorized.py` builds the native transformers model, then replaces the linear layers
that `config.json` lists by products of two factors. They import torch and transformers only, open no file, use no
network and start no process. The weights are safetensors.

## Limits

It inherits the limits and biases of its base model. Numbers above hold for the data they name; elsewhere, and for rare
inputs above all, measure it beside the base model before you rely on it.

## Reproduce

```
factcli convert -c {FILE_NAME}{"" if source.repo_id else " MODEL"}
```

`{FILE_NAME}` in this repository holds:

```yaml
{yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True).strip()}
```

{_provenance(made_with)}

- {structure.title}: {structure.paper}
- {criterion.title}: {criterion.paper}
{END}
"""
    return join_card(_metadata(source, [recipe.method], auto_class), text)


def dense_card(source: Source, auto_class: str, made_with: dict[str, Any], trained: str, task: str) -> str:
    """README.md of a model that was trained and not factorized."""
    text = f"""{BEGIN}
# {source.provenance()["model"]}, fine-tuned on {task}

{_linked(source)}, {trained[0].lower()}{trained[1:]} No matrix is factorized.

{RESULTS[0]}
{RESULTS[1]}
{SPEED[0]}
{SPEED[1]}

## Made with

{_provenance(made_with)}
{END}
"""
    metadata = _metadata(source, [], auto_class)
    return join_card(metadata | ({"base_model_relation": "finetune"} if "base_model" in metadata else {}), text)


def _metadata(source: Source, methods: list[str], auto_class: str) -> dict[str, Any]:
    card = source.path / "README.md"
    try:
        found, _ = split_card(card.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        found = {}  # a source without a readable card has no metadata to carry over
    metadata = carried(found) | ({"base_model": source.repo_id} if source.repo_id else {})
    if "pipeline_tag" not in metadata and auto_class in _PIPELINES:
        metadata["pipeline_tag"] = _PIPELINES[auto_class]
    tags = ["factcli", *(["factorized", "compressed", *methods] if methods else [])]
    library = "sentence-transformers" if (source.path / "modules.json").is_file() else "transformers"
    return metadata | {"library_name": library, "tags": tags}


def _linked(source: Source) -> str:
    name: str = source.provenance()["model"]
    return f"[{name}](https://huggingface.co/{name})" if source.repo_id else f"`{name}`"


def _provenance(made_with: dict[str, Any]) -> str:
    """Provenance as a table, in the order of the recipe file."""
    rows = "\n".join(f"| {key.replace('_', ' ')} | `{value}` |" for key, value in made_with.items() if value)
    return f"| made with | |\n|---|---|\n{rows}"
