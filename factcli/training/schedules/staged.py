"""Staged: a transformer block at a time, with training in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UsageError
from .base import ORDERS, Schedule, Stage, StageOptions, schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer


@schedules.register
class Staged(Schedule):
    """Seed paper, section 3: factorize a subset, train some steps, factorize the next from what was trained; the last
    blocks first, which is the stabler order. The low-rank structure needs it; the block forms do not (section 4.2)."""

    name = "staged"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"
    gradual = True

    def stages(self, layers: list[Layer], options: StageOptions) -> tuple[Stage, ...]:
        if options.order not in ORDERS:
            raise UsageError(f"--order {options.order!r} is unknown: take {' or '.join(ORDERS)}.")
        if options.steps < 1:
            raise UsageError(f"--stage-steps {options.steps} is below 1: for no steps take --schedule direct.")
        blocks = group_by_block(layers)
        count = len(blocks) if options.stages is None else options.stages
        if not 1 <= count <= len(blocks):
            raise UsageError(f"--stages {count} does not fit: the plan has {len(blocks)} blocks, so take 1 to that.")
        if options.order == "high-to-low":
            blocks.reverse()
        bounds = [round(i * len(blocks) / count) for i in range(count + 1)]
        return tuple(
            Stage(i * options.steps, tuple(layer for block in blocks[bounds[i] : bounds[i + 1]] for layer in block))
            for i in range(count)
        )


def group_by_block(layers: list[Layer]) -> list[list[Layer]]:
    """The layers of each transformer block ("encoder.layer.3"), in the order of the model."""
    blocks: dict[str, list[Layer]] = {}
    for layer in layers:
        parts = layer.name.split(".")
        index = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
        blocks.setdefault(".".join(parts[: index + 1]), []).append(layer)
    return list(blocks.values())
