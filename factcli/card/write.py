"""The card of an export: what it is, how large, how it was made, how to load it, what to expect of it."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from .. import __version__, remote_code
from ..files.links import within
from ..files.written import BEGIN
from ..models.carried import survey_directory
from ..models.model import Model
from ..recipe.factorizing import Recipe
from ..recipe.file import FILE_NAME
from ..recipe.registry import criteria, structures
from ..recipe.values import format_count
from .text import END, RESULTS, SPEED, carried, join_card, split_card

if TYPE_CHECKING:
    from ..compress.plan import Plan

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
    source: Model,
    recipe: Recipe | None,
    plan: "Plan",
    auto_class: str,
    sizes: tuple[int, int],
    made_with: dict[str, Any],
    command: Sequence[str],
    training: dict[str, Any] | None = None,
) -> str:
    """README.md of a factorized model: metadata carried over from the source's card, then our text between its marks.

    `recipe` is None where it is not known (a source that was factorized already, without a recipe). `sizes` are bytes
    of the weights before and after, `made_with` the provenance, `command` repeats what was done, `training` is the
    recipe's section of that name, if the model was trained.
    """
    name, kinds = source.provenance()["model"], sorted({layer.structure for layer in plan.factorized})
    titles = " and ".join(structures[kind].title for kind in kinds)
    before, after = plan.parameters_before, plan.parameters_after
    kept = plan.targets_after / plan.targets_before
    products = f"{len(plan.factorized)} of its {len(plan.layers)} weight matrices are {titles} products"
    if source.factorized:
        head = f"# {name}, fine-tuned\n\n{linked(source)}, trained: {products}, as they were before."
        columns = "dense"
    else:
        head = f"# {name}, factorized ({titles})\n\nA smaller {linked(source)}: {products}, by factcli {__version__}."
        columns = "before"
    papers = [f"- {structures[kind].title}: {structures[kind].paper}" for kind in kinds]
    if recipe is not None:
        papers.append(f"- {criteria[recipe.criterion].title}: {criteria[recipe.criterion].paper}")
    vocabulary = tokens(source)
    text = f"""{BEGIN}
{head}
{_UNTRAINED if training is None else ""}

| | {columns} | after | ratio |
|---|---|---|---|
| parameters | {format_count(before)} | {format_count(after)} | {after / before:.1%} |
| of the targeted matrices | {format_count(plan.targets_before)} | {format_count(plan.targets_after)} | {kept:.1%} |
| bytes of the weights | {sizes[0]:,} | {sizes[1]:,} | {sizes[1] / sizes[0]:.1%} |{vocabulary}

{numbers_and_loading(auto_class, ", trust_remote_code=True")}

The revision pins weights and code: take a commit from this repository's history. A directory needs none.

{_code(plan)}
{own_code(source)}
## Limits

It inherits the limits and biases of its base model. Numbers above hold for the data they name; elsewhere, and for rare
inputs above all, measure it beside the base model before you rely on it.

{made(source, recipe, made_with, command, training)}

{chr(10).join(papers)}
{END}
"""
    return join_card(metadata(source, kinds, auto_class), text)


def _code(plan: "Plan") -> str:
    text = """\
`trust_remote_code=True` runs the four Python files that factcli put here. `configuration_factorized.py` names the
configuration classes; `modeling_factorized.py` builds the native transformers model, then replaces the linear layers
that `config.json` lists by products of two factors, and `embeddings_factorized.py` token embeddings;
`kernels_factorized.py` has, for block layers on NVIDIA GPUs, a kernel that Triton compiles where it is installed (it
starts a compiler and fills a cache). Besides that, these four import torch and transformers only, open no file, use no
network and start no process. The weights are safetensors."""
    for file in remote_code.files_with(plan.layer_file)[len(remote_code.FILES) :]:
        text = text.replace("the four Python", "the five Python")
        text = text.replace("Besides that, these four", f"`{file.name}` has these layers.\nBesides that, the five")
    return text


def numbers_and_loading(auto_class: str, further: str = "") -> str:
    """The places of what is measured, and how the model is loaded, with `further` arguments."""
    return f"""{RESULTS[0]}
{RESULTS[1]}
{SPEED[0]}
{SPEED[1]}

## Load

```python
from transformers import {auto_class}, AutoTokenizer

name, revision = "{NAME}", "{REVISION}"
model = {auto_class}.from_pretrained(name, revision=revision{further})
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision{further})
```"""


def tokens(source: Model) -> str:
    """A row on the vocabulary, where it was made smaller."""
    if source.origin is None:
        return ""
    before, after = source.origin.rows, source.rows
    return f"\n| tokens of the vocabulary | {before:,} | {after:,} | {after / before:.1%} |"


def made(
    source: Model,
    recipe: Recipe | None,
    made_with: dict[str, Any],
    command: Sequence[str],
    training: dict[str, Any] | None,
) -> str:
    """The sections on how it was made, step by step, and what makes it again."""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(made_with.get("steps", ()), 1))
    values = (recipe.to_dict() if recipe else {}) | ({"training": training} if training else {})
    names = ", ".join(
        f"`{made_with[key]}`"
        for key in ("train", "validation", "data", "calibration", "vocabulary")
        if f"{key}_sha256" in made_with
    )
    local = [
        *([] if source.repo_id else [f"MODEL is the directory `{source.provenance()['model']}`"]),
        *([f"the data are {names}, with the SHA-256 below"] if names else []),
    ]
    what = "".join(f"{part[0].upper()}{part[1:]}. " for part in local)
    return f"""## How it was made

{steps}

## Reproduce

```
{shlex.join(command)}
```

{what}`{FILE_NAME}` in this repository holds:

```yaml
{yaml.safe_dump(values, sort_keys=False, allow_unicode=True).strip()}
```

{_provenance(made_with)}"""


def metadata(source: Model, methods: list[str], auto_class: str) -> dict[str, Any]:
    """The metadata of a card: what is carried over of the source's, and ours; `methods` are of what is factorized."""
    card = source.path / "README.md"
    try:
        found, _ = split_card(card.read_text(encoding="utf-8")) if within(source.path, card.name) else ({}, "")
    except (OSError, UnicodeDecodeError):
        found = {}  # a source without a readable card has no metadata to carry over
    values = carried(found) | ({"base_model": source.repo_id} if source.repo_id else {})
    if "pipeline_tag" not in values and auto_class in _PIPELINES:
        values["pipeline_tag"] = _PIPELINES[auto_class]
    tags = ["factcli", *(["factorized", "compressed", *methods] if methods else [])]
    library = "sentence-transformers" if (source.path / "modules.json").is_file() else "transformers"
    return values | {"library_name": library, "tags": tags}


def own_code(source: Model) -> str:
    """What runs beside factcli's files and what of the source is left out, as a paragraph; empty where nothing is."""
    found = survey_directory(source.path, source.name, source.trusted)
    sentences = []
    if found.code:
        files = ", ".join(f"`{name}` ({of})" for name, of in found.code.items())
        sentences.append(
            f"With `trust_remote_code=True` also runs what came with {linked(source)}, and does what its authors "
            f"wrote, so read it first: {files}."
        )
    for place, of in found.elsewhere.items():
        sentences.append(
            f"The code of {of} is that of the repository `{place}`, fetched from there whenever it is loaded."
            if "/" in place
            else f"The code of {of} is `{place}`, of a package that must be installed."
        )
    return f"\n{' '.join(sentences)}\n" if sentences else ""


def linked(source: Model) -> str:
    """The source's name, with a link where it is on the Hub."""
    name: str = source.provenance()["model"]
    return f"[{name}](https://huggingface.co/{name})" if source.repo_id else f"`{name}`"


def _provenance(made_with: dict[str, Any]) -> str:
    """Provenance as a table, in the order of the recipe file."""
    entries = {key.replace("_", " "): value for key, value in made_with.items() if value and key != "steps"}
    rows = "\n".join(f"| {key} | `{str(value).replace('|', chr(92) + '|')}` |" for key, value in entries.items())
    return f"| made with | |\n|---|---|\n{rows}"
