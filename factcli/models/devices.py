"""Where tensors are computed with."""

import torch

from ..errors import Lacking, UsageError
from ..notes import note


def pick_device(device: str) -> torch.device:
    """auto, cpu, cuda, cuda:1, mps -> a device that is there. Raises FactcliError or UsageError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if (
        chosen is None
        or chosen.type not in ("cpu", "cuda", "mps")
        or (chosen.index is not None and chosen.type == "cpu")
    ):
        raise UsageError(f"--device {device!r} is unknown: take auto, cpu, cuda, cuda:0 or mps.")
    if chosen.type == "mps":
        note("--device mps: this runs on the CPU, because Apple's GPUs have no float64.")
        return torch.device("cpu")
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise Lacking(f"--device {device} is not there: take --device cpu.")
    return chosen
