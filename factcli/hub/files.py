"""What of a directory goes to the Hub: the files of a model, and nothing that lies beside them."""

from fnmatch import fnmatch
from pathlib import Path

from ..errors import FactcliError
from ..source import find_source

CARD = "README.md"
WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")
_PUBLISHED = (
    CARD,
    "factcli_recipe.yaml",
    "finetune_results.json",
    "eval_results.json",
    "bench_results.json",
    "configuration_factorized.py",
    "modeling_*.py",
    *WEIGHTS,
    "*config*.json",
    # tokenizers, as transformers and sentence-transformers name their files
    "token*.json", "vocab.*", "merges.txt", "*_tokens*.json", "*.model", "*.spm", "*.bpe", "*.vocab", "*.tiktoken",
    "*.jinja", "dict.txt", "modules.json",
)  # fmt: skip


def export_files(folder: Path) -> tuple[list[str], list[str]]:
    """Paths (relative, posix) below `folder` that make up the model, and those that are left out.

    Hidden files and directories, symbolic links, and checkpoints of a training are always left out.
    Raises FactcliError where `folder` is not a whole model.
    """
    if not folder.is_dir():
        raise FactcliError(f"{folder} is not a directory: give one that 'factcli convert' or 'factcli finetune' made.")
    find_source(str(folder), accept_factorized=True)
    published: list[str] = []
    left: list[str] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder)
        shown = relative.as_posix()
        inside = not any(part.startswith((".", "checkpoint-")) for part in relative.parts) and not path.is_symlink()
        named = any(fnmatch(path.name, pattern) for pattern in _PUBLISHED)
        deep = len(relative.parts) > 1 and path.suffix != ".json"  # of subdirectories: a module's config.json
        (published if inside and named and not deep else left).append(shown)
    return published, left
