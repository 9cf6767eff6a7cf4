"""The best state of a model in a run, by what it scores on held-out texts: it is what is kept."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..files.atomic import write_json
from .held_out import score

STATE, ABOUT = "best.safetensors", "best.json"
TIMES = 10  # how often a run looks, besides the start


@dataclass
class Best:
    """`before` is what was measured before the first step, `metrics` what was at the best one, `step`."""

    score: float = -float("inf")
    step: int = 0
    before: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, model: nn.Module, step: int, metrics: dict[str, float]) -> None:
        """Take the state of `model` as it is at `step`, if none before was as good."""
        self.before = self.before or metrics
        if score(metrics) > self.score:
            self.score, self.step, self.metrics = score(metrics), step, metrics
            self.state = {name: p.detach().cpu().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Give `model` the best state."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.state[name])

    def save(self, folder: Path) -> None:
        """Put it into a checkpoint."""
        save_file({name: value.contiguous() for name, value in self.state.items()}, folder / STATE)
        about = {"score": self.score, "step": self.step, "before": self.before, "metrics": self.metrics}
        write_json(folder / ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> "Best":
        """As `save` put it there."""
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return cls(**about, state=load_file(folder / STATE))
