"""The card of a model that stays one of transformers' own: trained, or with a smaller vocabulary."""

from collections.abc import Sequence
from typing import Any

from ..files.written import BEGIN
from ..models.model import Model
from ..recipe.factorizing import Recipe
from ..recipe.values import format_count
from .text import END, join_card
from .write import linked, made, metadata, numbers_and_loading, own_code, tokens


def dense_card(
    source: Model,
    auto_class: str,
    made_with: dict[str, Any],
    task: str,
    command: Sequence[str],
    training: dict[str, Any],
) -> str:
    """README.md of a model that was trained and not factorized; the rest as for make_card."""
    head = f"""# {source.provenance()["model"]}, fine-tuned on {task}

{linked(source)}, fine-tuned on {task}. No matrix is factorized."""
    about = metadata(source, [], auto_class)
    about |= {"base_model_relation": "finetune"} if "base_model" in about else {}
    return join_card(about, _dense(source, auto_class, head, made(source, None, made_with, command, training)))


def trimmed_card(
    source: Model,
    recipe: Recipe,
    auto_class: str,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    made_with: dict[str, Any],
    command: Sequence[str],
) -> str:
    """README.md of a model with a smaller vocabulary and no factorized matrix; `sizes` are parameters, then bytes of
    the weights, each before and after. The rest as for make_card."""
    parameters, size = sizes
    head = f"""# {source.provenance()["model"]}, with a smaller vocabulary

A smaller {linked(source)}: tokens that `{recipe.to_dict()["vocabulary"]}` does not use are gone, from the tokenizer
and from the model. Those that stayed give what they gave before; other words are read in smaller pieces. No matrix is
factorized.

| | before | after | ratio |
|---|---|---|---|
| parameters | {format_count(parameters[0])} | {format_count(parameters[1])} | {parameters[1] / parameters[0]:.1%} |
| bytes of the weights | {size[0]:,} | {size[1]:,} | {size[1] / size[0]:.1%} |{tokens(source)}"""
    about = metadata(source, [], auto_class)
    about["tags"] = [*about["tags"], "compressed"]
    return join_card(about, _dense(source, auto_class, head, made(source, recipe, made_with, command, None)))


def _dense(source: Model, auto_class: str, head: str, made: str) -> str:
    """The text of the card of a native model: what it is, its numbers, how to load it, how it was made."""
    return f"""{BEGIN}
{head}
{own_code(source)}
{numbers_and_loading(auto_class)}

{made}
{END}
"""
