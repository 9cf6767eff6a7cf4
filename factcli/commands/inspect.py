"""inspect: what is in an export."""

from typing import Any

import yaml

from ..card.runtimes import recorded
from ..compress.plan import Layer
from ..errors import FactcliError
from ..models.locating import locate, read_config
from ..models.parts import base_of, bytes_by_part
from ..models.weights import markers, read_weights
from ..recipe import running
from ..recipe.commands import INSPECT, Asked, answers
from ..recipe.file import FILE_NAME
from ..runtimes.standing import standing


@answers(INSPECT)
def inspect(asked: Asked) -> dict[str, Any]:
    """Plan, sizes, provenance and pins of an export (a directory or Hub id), read from its files; no model is built. Of
    a directory that `factcli export` made of a dense model, or without weights, what there is: the rest is None.

    Notes say which files for runtimes are not as the recipe file lists them, and what to do.

    Raises FactcliError where it is not an export.
    """
    name = asked.of(running.Model).model
    path, repo_id, _ = locate(name, asked.of(running.Revision).revision)
    raw = read_config(path)
    factorized, exported = "factorization" in raw, bool(recorded(path))
    if not factorized and not exported:
        raise FactcliError(f"{name} is not a factorized model: make one with 'factcli convert'.")
    bare = exported and not any(path.glob("*.safetensors*"))
    weights = None if bare else read_weights(path, name, raw)
    layers = [Layer.from_json(entry) for entry in raw["factorization"]["layers"]] if factorized else []
    recipe_file = path / FILE_NAME
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8")) if recipe_file.is_file() else {}
    for key in ("files", "runtimes"):  # they are listed as they are
        recipe.get("made_with", {}).pop(key, None)
    return {
        "model": name,
        "model_type": raw["model_type"],
        "architectures": raw.get("architectures") or [],
        "auto_map": raw.get("auto_map", {}),
        "format_version": raw["factorization"]["format_version"] if factorized else None,
        "parameters": None if weights is None else weights.parameters - markers(weights, raw),
        "targets": {
            "before": sum(layer.shape[0] * layer.shape[1] for layer in layers),
            "after": sum(layer.parameters for layer in layers),
        }
        if factorized
        else None,
        "bytes": None if weights is None else sum(file.stat().st_size for file in weights.files),
        "parts": {}
        if weights is None
        else bytes_by_part({name: tensor.bytes for name, tensor in weights.tensors.items()}, base_of(raw)),
        "files": sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()),
        "runtimes": standing(path, name, not bare and repo_id is None),
        "made_with": recipe.pop("made_with", {}),
        "recipe": recipe,
        "layers": [layer.shown() for layer in layers],
    }
