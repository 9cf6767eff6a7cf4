"""inspect: what is in an export."""

import math
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from .compress.plan import Layer
from .errors import FactcliError
from .recipe.old_recipe import FILE_NAME
from .source import locate, read_config, weight_files


def inspect(model: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Plan, sizes, provenance and pins of an export (a directory or Hub id), read from its files; no model is built.

    Raises FactcliError where it is not an export.
    """
    name = str(model)
    path, _, _ = locate(name, revision)
    raw = read_config(path)
    if "factorization" not in raw:
        raise FactcliError(f"{name} is not a factorized model: make one with 'factcli convert'.")
    files = weight_files(path, name)
    layers = [Layer.from_json(entry) for entry in raw["factorization"]["layers"]]
    marks = tuple(f"{layer.name}.weight" for layer in layers if layer.structure != "dense")
    parameters = 0
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name.endswith(marks):  # one element without a part in the product
                    continue
                tensor = tensors.get_slice(name)
                if tensor.get_dtype().startswith(("F", "BF")):  # an order of inputs is no parameter
                    parameters += math.prod(tensor.get_shape())
    recipe_file = path / FILE_NAME
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8")) if recipe_file.is_file() else {}
    return {
        "model": name,
        "model_type": raw["model_type"],
        "architectures": raw["architectures"],
        "auto_map": raw["auto_map"],
        "format_version": raw["factorization"]["format_version"],
        "parameters": parameters,
        "targets": {
            "before": sum(layer.shape[0] * layer.shape[1] for layer in layers),
            "after": sum(layer.parameters for layer in layers),
        },
        "bytes": sum(file.stat().st_size for file in files),
        "files": sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()),
        "made_with": recipe.pop("made_with", {}),
        "recipe": recipe,
        "layers": [layer.shown() for layer in layers],
    }
