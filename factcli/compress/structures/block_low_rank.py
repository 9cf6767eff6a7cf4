"""Block low-rank: every block of a regular grid over W has its own low-rank product."""

from .base import structures
from .grid import Blocks


@structures.register
class BlockLowRank(Blocks):
    """Blocks of neighbouring rows and columns; seed paper, section 2.2."""

    name = "block-low-rank"
    title = "Block low-rank"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"
