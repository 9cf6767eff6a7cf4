"""inspect: what is in an export."""

from typing import Any

import yaml

from ..card.runtimes import recorded, state
from ..compress.plan import Layer
from ..errors import FactcliError
from ..models.locating import locate, read_config
from ..models.weights import markers, read_weights
from ..recipe import running
from ..recipe.commands import INSPECT, Asked, answers
from ..recipe.file import FILE_NAME


@answers(INSPECT)
def inspect(asked: Asked) -> dict[str, Any]:
    """Plan, sizes, provenance and pins of an export (a directory or Hub id), read from its files; no model is built.

    Raises FactcliError where it is not an export.
    """
    name = asked.of(running.Model).model
    path, _, _ = locate(name, asked.of(running.Revision).revision)
    raw = read_config(path)
    if "factorization" not in raw:
        raise FactcliError(f"{name} is not a factorized model: make one with 'factcli convert'.")
    weights = read_weights(path, name, raw)
    layers = [Layer.from_json(entry) for entry in raw["factorization"]["layers"]]
    recipe_file = path / FILE_NAME
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8")) if recipe_file.is_file() else {}
    for key in ("files", "runtimes"):  # they are listed as they are
        recipe.get("made_with", {}).pop(key, None)
    return {
        "model": name,
        "model_type": raw["model_type"],
        "architectures": raw["architectures"],
        "auto_map": raw["auto_map"],
        "format_version": raw["factorization"]["format_version"],
        "parameters": weights.parameters - markers(weights, raw),
        "targets": {
            "before": sum(layer.shape[0] * layer.shape[1] for layer in layers),
            "after": sum(layer.parameters for layer in layers),
        },
        "bytes": sum(file.stat().st_size for file in weights.files),
        "files": sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()),
        "runtimes": [{k: v for k, v in e.items() if k != "parts"} | {"state": state(path, e)} for e in recorded(path)],
        "made_with": recipe.pop("made_with", {}),
        "recipe": recipe,
        "layers": [layer.shown() for layer in layers],
    }
