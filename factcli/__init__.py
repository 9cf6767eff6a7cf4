"""factcli: compress transformers by matrix factorization. The commands are functions of the same names."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_API = {  # name -> module; types and keywords are in __init__.pyi
    "bench": "commands.bench",
    "convert": "commands.convert",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "finetune": "commands.finetune",
    "diagnose": "commands.diagnose",
    "frontier": "commands.frontier",
    "inspect": "commands.inspect",
    "load": "models.export",
    "push": "commands.push",
    "sweep": "commands.sweep",
    "FactcliError": "errors",
}
__all__ = [
    "FactcliError",
    "bench",
    "convert",
    "diagnose",
    "evaluate",
    "export",
    "finetune",
    "frontier",
    "inspect",
    "load",
    "push",
    "sweep",
]


def __getattr__(name: str) -> Any:  # torch and transformers are imported when first needed
    if name in _API:
        return getattr(import_module(f".{_API[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
