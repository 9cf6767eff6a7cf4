"""Direct: all at once, then train."""

from ...compress.plan import Layer
from .base import Schedule, Stage, StageOptions, schedules


class Direct(Schedule):
    """Every matrix is factorized before the first step."""

    name = "direct"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"

    def stages(self, layers: list[Layer], options: StageOptions) -> tuple[Stage, ...]:
        return (Stage(0, tuple(layers)),)


schedules.register(Direct.name)(Direct())
