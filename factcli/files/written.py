"""Whether factcli or save_pretrained wrote a directory, all of it: then it may be replaced."""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from ..remote_code import CODE
from . import atomic as files

RECIPE = "factcli_recipe.yaml"
BEGIN = "<!-- factcli: begin -->"  # of our part of a card
# What save_pretrained of models, tokenizers and processors writes, Trainer.save_model, and factcli after an export.
_WRITTEN = "|".join((
    r"(generation_)?config\.json", r"model(-\d{5}-of-\d{5})?\.safetensors", r"model\.safetensors\.index\.json",
    r"pytorch_model(-\d{5}-of-\d{5})?\.bin", r"pytorch_model\.bin\.index\.json", r"training_args\.bin",
    r"tokenizer(_config)?\.json", r"special_tokens_map\.json", r"added_tokens\.json", r"chat_template\.(jinja|json)",
    r"additional_chat_templates/[^/]+\.jinja", r"processor_config\.json", r"(\w+_)?preprocessor_config\.json",
    r"audio_tokenizer_config\.json", r"((entity_|target_)?vocab(-src|-tgt)?|byte_maps|emoji|normalizer)\.json",
    r"word_(shape|pronunciation)\.json", r"(vocab|merges|dict)\.txt", r"(source|target)\.spm", r"bpe\.codes",
    r"(spiece|spm|spm_char|tokenizer|sentencepiece|sentencepiece\.bpe)\.model", r"prophetnet\.tokenizer",
    r"modules\.json", r"config_sentence_transformers\.json", r"sentence_\w+_config\.json",
    r"factcli_recipe\.yaml", rf"({'|'.join(re.escape(file.name) for file in CODE)})", r"(finetune|eval)_results\.json",
    r"\.DS_Store", r"__pycache__/[^/]+\.pyc",  # of systems and Python, which write them unasked
    rf"\.(eval_results\.json|README\.md)\.([0-9a-f]{{12}}\.{files.PARTIAL}|{files.LOCK})",
))  # fmt: skip
_OF_SEEDS = re.compile(r"finetune_results\.json|run\.json|seed-\d+\.json")


def sign(work: Path) -> None:
    """Note in the recipe of an export which files it has, so that it is known again whatever their names."""
    recipe = work / RECIPE
    if recipe.is_file():
        values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        written = sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file())
        values["made_with"] = (values.get("made_with") or {}) | {"files": written}
        files.write_text(recipe, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def foreign(folder: Path) -> str | None:
    """What speaks against a directory having been written, all of it, by factcli or by save_pretrained: the end of a
    sentence; None where nothing does."""
    if _of_seeds(folder):
        return None
    entries = sorted(folder.iterdir())
    if not entries:
        return None
    config = _json(folder / "config.json")
    if not isinstance(config, dict) or not ("model_type" in config or "architectures" in config):
        return f"is not a model (it holds {_named(entries)})"
    signed, patterns = _signed(folder), [_WRITTEN]
    if BEGIN in _text(folder / "README.md"):
        signed.add("README.md")
    modules = _json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        path = module.get("path") if isinstance(module, dict) else None
        if isinstance(path, str) and path:
            patterns.append(f"{re.escape(path)}/({_WRITTEN})")
    for base, directories, names in os.walk(folder, onerror=_raise):
        for name in sorted(names + [d for d in directories if Path(base, d).is_symlink()]):
            file = Path(base, name)
            relative = file.relative_to(folder).as_posix()
            known = relative in signed or any(re.fullmatch(pattern, relative) for pattern in patterns)
            if file.is_symlink() or not known:
                return f"holds {relative}, which neither factcli nor save_pretrained wrote"
    return None


def _raise(error: OSError) -> None:
    raise error


def _of_seeds(folder: Path) -> bool:
    """Whether it holds the runs of several seeds, and nothing else."""
    entries = list(folder.iterdir())
    runs = [p for p in entries if p.is_dir() and re.fullmatch(r"seed-\d+", p.name)]
    return (folder / "finetune_results.json").is_file() and all(
        foreign(p) is None if p in runs else bool(_OF_SEEDS.fullmatch(p.name)) for p in entries
    )


def _signed(folder: Path) -> set[str]:
    try:
        found: Any = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))["made_with"]["files"]
        return {name for name in found if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return set()


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _named(entries: list[Path]) -> str:
    shown = ", ".join(p.name + "/" * p.is_dir() for p in entries[:3])
    return shown + (f" and {len(entries) - 3} more" if len(entries) > 3 else "")
