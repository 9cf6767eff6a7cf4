"""factcli: compress transformers by matrix factorization. The commands are functions of the same names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module; a module may not have the name of what it exports, or importing it would hide the function
_API = {
    "bench": "benchmarking.bench",
    "convert": "conversion",
    "evaluate": "evaluation",
    "finetune": "training.finetune",
    "diagnose": "diagnosis",
    "inspect": "inspection",
    "load": "checkpoint",
    "push": "hub.publish",
    "FactcliError": "errors",
}
__all__ = ["FactcliError", "bench", "convert", "diagnose", "evaluate", "finetune", "inspect", "load", "push"]

if TYPE_CHECKING:
    from .benchmarking.bench import bench
    from .checkpoint import load
    from .conversion import convert
    from .diagnosis import diagnose
    from .errors import FactcliError
    from .evaluation import evaluate
    from .hub.publish import push
    from .inspection import inspect
    from .training.finetune import finetune


def __getattr__(name: str) -> Any:  # torch and transformers are imported when first needed
    if name in _API:
        return getattr(import_module(f".{_API[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
