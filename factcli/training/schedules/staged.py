"""Staged: a transformer block at a time, with training in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UsageError
from ...recipe.fields import Options, option
from ...recipe.rules import Rule, unless
from .base import Schedule, Stage, schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer


AT_LEAST = "at least 1: for none take --schedule direct"


class StageOptions(Options):
    """How the blocks of a model are grouped into stages."""

    panel = "Stages"

    order: str = option("high-to-low", "Which blocks come first.", known=("high-to-low", "low-to-high"))
    stage_steps: int = option(500, "Steps of training between stages.", ge=1, called=AT_LEAST)
    stages: int | None = option(None, "Number of stages.", "one a block", ge=1)


@schedules.register
class Staged(Schedule):
    """Seed paper, section 3: factorize a subset, train some steps, factorize the next from what was trained; the last
    blocks first, which is the stabler order. The low-rank structure needs it; the block forms do not (section 4.2)."""

    name = "staged"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"
    gradual = True
    helps = "more --stage-steps, "
    options = StageOptions
    own: StageOptions
    rules = (
        Rule(
            ("order", "stage_steps"),
            lambda v: unless(v["stages"] != 1, "with --stages 1"),
            "give more stages",
            ("stages",),
        ),
    )

    def stages(self, layers: list[Layer]) -> tuple[Stage, ...]:
        blocks = group_by_block(layers)
        count = len(blocks) if self.own.stages is None else self.own.stages
        if not 1 <= count <= len(blocks):
            raise UsageError(f"--stages {count} does not fit: the plan has {len(blocks)} blocks, so take 1 to that.")
        if self.own.order == "high-to-low":
            blocks.reverse()
        bounds = [round(i * len(blocks) / count) for i in range(count + 1)]
        return tuple(
            Stage(
                i * self.own.stage_steps, tuple(layer for block in blocks[bounds[i] : bounds[i + 1]] for layer in block)
            )
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
