"""Memory: freed tensors kept for the next ones, and out of memory said in plain words."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from ..errors import Lacking

# glibc gives every large tensor back to the system, and the page faults of the next one take up to half of the time of
# a thin layer. With these variables a process keeps what it has.
_LARGE, _NEVER = 2**30, 2**34
KEEPS_FREED = {"MALLOC_MMAP_THRESHOLD_": str(_LARGE), "MALLOC_TRIM_THRESHOLD_": str(_NEVER)}


def keep_freed() -> None:
    """The same for this process, until its end; for programs, not for libraries. Nothing where glibc is not."""
    if sys.platform != "linux":
        return
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        if not mallopt(-3, _LARGE):  # M_MMAP_THRESHOLD, of which older versions take 32 MB at most
            mallopt(-3, 2**25)
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, an int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is any library's: on a CPU torch raises a plain RuntimeError."""
    text = str(error).lower()
    said = "out of memory" in text or "can't allocate memory" in text
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (isinstance(error, RuntimeError) and said)


@contextmanager
def memory_advice(batch_size: int, training: bool = True) -> Iterator[None]:
    """Turns any library's out-of-memory error in the body into a FactcliError that says which options lower it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        also = ", --max-length or --gradient-checkpointing" if training else " or --max-length"
        raise Lacking(f"Out of memory: lower --batch-size (now {batch_size}){also}.") from error
