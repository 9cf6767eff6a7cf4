"""How an embedding model makes one vector of a text: pooling and what follows, as sentence-transformers names them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import FactcliError

MODULES = "modules.json"
_OLDER = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}  # of version 5 and before, in the order in which several are joined
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x, "Tanh": torch.tanh, "ReLU": torch.relu, "GELU": torch.nn.functional.gelu,
}  # fmt: skip


@dataclass(frozen=True)
class Projection:
    """A linear layer behind the pooling: `weight` (out, in), `bias` (out,) or None, and the name of an activation."""

    weight: Tensor
    bias: Tensor | None
    activation: str

    def __call__(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x)
        return _ACTIVATIONS[self.activation](torch.nn.functional.linear(x, self.weight.to(x), bias))


@dataclass(frozen=True)
class Vectors:
    """From hidden states to a vector a text: pooled by each of `modes`, joined, projected, `normalized` to length 1.
    Without `prompts` the tokens of a prompt before the text are none of what is pooled: who calls masks them."""

    modes: tuple[str, ...] = ("mean",)
    projections: tuple[Projection, ...] = ()
    normalized: bool = True
    prompts: bool = True

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Of `hidden` (B, T, d) and a `mask` (B, T), 1 where there is a token: (B, k), in the type of `hidden`."""
        weights = mask.to(hidden).unsqueeze(-1)
        x = torch.cat([_POOLS[mode](hidden, weights) for mode in self.modes], -1)
        for projection in self.projections:
            x = projection(x)
        return torch.nn.functional.normalize(x, dim=-1) if self.normalized else x

    def width(self, hidden_size: int) -> int:
        """Dimensions of the vectors."""
        return int(self.projections[-1].weight.shape[0]) if self.projections else hidden_size * len(self.modes)

    def __str__(self) -> str:
        steps = [" and ".join(self.modes) + " pooling", *("a projection" for _ in self.projections)]
        return ", ".join([*steps, *(["normalized"] if self.normalized else [])])


def find_vectors(folder: Path, name: str) -> Vectors | None:
    """What `modules.json` in the folder of a model makes of its hidden states; None where there is none, or it makes
    no vector of them alone (sparse encoders, routers).

    Raises FactcliError for files that cannot be read, and a projection without safetensors.
    """
    if not (folder / MODULES).is_file():
        return None
    try:
        entries = [(str(e["type"]).rpartition(".")[2], folder / str(e["path"])) for e in _read(folder / MODULES)]
        kinds = [kind for kind, _ in entries]
        if kinds.count("Pooling") != 1 or set(kinds) - {"Transformer", "Pooling", "Dense", "Normalize"}:
            return None
        modes: tuple[str, ...] = ()
        prompts = True
        projections: list[Projection] = []
        for kind, place in entries:
            if kind == "Pooling":
                config = _read(place / "config.json")
                modes, prompts = _modes(config), config.get("include_prompt") is not False
            elif kind == "Dense":
                projections.append(_projection(place, name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise FactcliError(f"The modules that {MODULES} of {name} names cannot be read: {reason}.") from error
    if not modes or set(modes) - _POOLS.keys() or any(p.activation not in _ACTIVATIONS for p in projections):
        return None
    return Vectors(modes, tuple(projections), "Normalize" in kinds, prompts)


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    said = config.get("pooling_mode")
    if said is not None:
        return (said,) if isinstance(said, str) else tuple(map(str, said))
    return tuple(mode for key, mode in _OLDER.items() if config.get(key) is True) or ("mean",)


def _projection(place: Path, name: str) -> Projection:
    if not (place / "model.safetensors").is_file():
        raise FactcliError(
            f"{name} has a layer behind its pooling that is not in safetensors ({place.name}): save it anew with "
            "sentence-transformers."
        )
    tensors, config = load_file(place / "model.safetensors"), _read(place / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    return Projection(tensors["linear.weight"], tensors.get("linear.bias"), activation)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _mean(hidden: Tensor, weights: Tensor) -> Tensor:
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1e-9)


def _mean_sqrt_len(hidden: Tensor, weights: Tensor) -> Tensor:
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1e-9).sqrt()


def _weighted(hidden: Tensor, weights: Tensor) -> Tensor:
    """By position, from 1: later tokens of a decoder have seen more."""
    return _mean(hidden, weights * torch.arange(1, hidden.shape[1] + 1).to(hidden).view(1, -1, 1))


def _max(hidden: Tensor, weights: Tensor) -> Tensor:
    return hidden.masked_fill(weights == 0, -1e9).amax(1)


def _first(hidden: Tensor, weights: Tensor) -> Tensor:
    return _at(hidden, weights.argmax(1))


def _last(hidden: Tensor, weights: Tensor) -> Tensor:
    return _at(hidden, hidden.shape[1] - 1 - weights.flip(1).argmax(1))


def _at(hidden: Tensor, where: Tensor) -> Tensor:
    return hidden.gather(1, where.unsqueeze(-1).expand(-1, 1, hidden.shape[-1])).squeeze(1)


_POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first, "mean": _mean, "max": _max, "mean_sqrt_len_tokens": _mean_sqrt_len, "weightedmean": _weighted,
    "lasttoken": _last,
}  # fmt: skip
