"""Out of memory, said in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import FactcliError


@contextmanager
def memory_advice(batch_size: int, training: bool = True) -> Iterator[None]:
    """Turns any library's out-of-memory error in the body into a FactcliError that says which options lower it."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not (
            "out of memory" in text or "can't allocate memory" in text
        ):
            raise
        also = ", --max-length or --gradient-checkpointing" if training else " or --max-length"
        raise FactcliError(f"Out of memory: lower --batch-size (now {batch_size}){also}.") from error
