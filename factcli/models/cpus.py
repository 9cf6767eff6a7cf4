"""What this CPU computes in."""

import platform
from functools import cache

_ARM = ("arm64", "aarch64")


@cache
def instructions() -> tuple[str, ...]:
    """Of its instruction sets those that decide what low precision is worth."""
    import torch

    if platform.machine().lower() in _ARM:
        return ("neon",)
    known = {
        "avx2": "_is_avx2_supported", "avx512": "_is_avx512_supported", "avx512_vnni": "_is_vnni_supported",
        "avx512_bf16": "_is_avx512_bf16_supported", "amx": "_is_amx_tile_supported",
    }  # fmt: skip
    return tuple(name for name, asked in known.items() if getattr(torch.cpu, asked, bool)())


@cache
def kind() -> str:
    """As names of quantized files have it."""
    if platform.machine().lower() in _ARM:
        return "arm64"
    return next((k for k in ("avx512_vnni", "avx512") if k in instructions()), "avx2")


def signed() -> bool:
    """Whether products of an unsigned and a signed byte are added without overflow. Before VNNI, x86 adds pairs of them
    in 16 bits, which does not hold them: a model of signed weights answers nonsense there."""
    return kind() in ("arm64", "avx512_vnni")
