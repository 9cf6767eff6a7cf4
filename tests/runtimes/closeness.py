"""How near the answers of two runtimes must be."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from factcli.models.cpus import instructions

IN_BFLOAT16 = bool({"avx512_bf16", "amx"} & set(instructions()))  # OpenVINO computes files of float32 in it here


def same(found: Any, expected: Any, within: float = 1e-4) -> None:
    """The same float32 arithmetic, in another order."""
    torch.testing.assert_close(_tensor(found), _tensor(expected), atol=within, rtol=0)


def alike(found: Any, expected: Any, cosine: float = 0.95) -> None:
    """Of int8 weights: the same direction, but not the same numbers."""
    assert not torch.equal(_tensor(found), _tensor(expected))
    assert float(cosine_similarity(_tensor(found), _tensor(expected), dim=-1).min()) > cosine


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
