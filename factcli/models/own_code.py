"""Code that comes with a model: who names it, in which files it is, and what a native class may stand in for."""

import ast
import json
import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

OF_MODELS = ("AutoConfig", "AutoModel")  # beginnings of the keys of auto_map that an export fills itself


@dataclass(frozen=True)
class Reference:
    """A class by the place of its code: `module.Class` here, or `owner/name--module.Class` in another repository."""

    text: str
    of: str  # what it is the code of, in words

    @property
    def repository(self) -> str | None:
        """The other repository, if it is in one."""
        return self.text.partition("--")[0] if "--" in self.text else None

    @property
    def file(self) -> str:
        """The Python file, in its repository."""
        return self.text.rpartition("--")[2].rpartition(".")[0].replace(".", "/") + ".py"


def references(values: dict[str, Any], of_models: bool = False) -> list[Reference]:
    """What the auto_map of a configuration names: classes of tokenizers and processors or, `of_models`, of models."""
    entries = values.get("auto_map") or {}
    if isinstance(entries, (list, tuple)):
        entries = {"AutoTokenizer": entries}  # as it was written once
    found = {}
    for key, named in entries.items() if isinstance(entries, dict) else ():
        if str(key).startswith(OF_MODELS) is of_models:
            of = "the model" if of_models else "the tokenizer" if key == "AutoTokenizer" else "the processor"
            for text in named if isinstance(named, (list, tuple)) else (named,):
                if isinstance(text, str):
                    found[text] = Reference(text, of)
    return list(found.values())


def own_tokenizer(folder: Path) -> list[Reference]:
    """The classes of its own that the tokenizer of a directory names."""
    file = folder / "tokenizer_config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError):  # whoever loads it says so
        return []
    return [r for r in references(values) if r.of == "the tokenizer"] if isinstance(values, dict) else []


def without_models(entries: Any) -> dict[str, Any]:
    """An auto_map without the entries for configurations and models."""
    return {k: v for k, v in entries.items() if not k.startswith(OF_MODELS)} if isinstance(entries, dict) else {}


def pipelines(config: dict[str, Any]) -> list[Reference]:
    """The classes of the pipelines that a config.json brings."""
    tasks = config.get("custom_pipelines")
    entries = tasks.values() if isinstance(tasks, dict) else ()
    return [Reference(str(e["impl"]), "a pipeline") for e in entries if isinstance(e, dict) and e.get("impl")]


def is_native(class_name: Any) -> bool:
    """Whether transformers has a class of that name."""
    try:
        return isinstance(class_name, str) and hasattr(transformers, class_name)
    except ImportError:  # it has, and lacks what the class needs
        return True


def closure(file: str, names: Collection[str], read: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """The Python files that `file` is made of, over its relative imports, and other files that they name in a text."""
    code, data, ahead = [], set(), [file]
    while ahead:
        current = ahead.pop()
        if current in code or current not in names:
            continue
        code.append(current)
        folder = posixpath.dirname(current)
        try:
            tree = ast.parse(read(current))
        except (SyntaxError, ValueError):  # it is carried as it is, and stops whoever runs it
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                place = posixpath.normpath(posixpath.join(folder, *[".."] * (node.level - 1)))
                stems = [node.module.replace(".", "/")] if node.module else [alias.name for alias in node.names]
                ahead += [posixpath.normpath(f"{place}/{stem}.py") for stem in stems]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                data |= {posixpath.normpath(p) for p in (node.value, posixpath.join(folder, node.value)) if p}
    return sorted(code), sorted((data & set(names)) - set(code))
