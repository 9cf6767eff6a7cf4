"""Configurations of factorized transformers: the native configuration plus the plan of the factorization.

`FactorizedXConfig` subclasses transformers' `XConfig` and is made when it is first asked for, so that this file serves
every architecture. The plan is the attribute `factorization`: a format version and one entry per factorized matrix.
"""

from typing import Any

import transformers

PREFIX = "Factorized"
FORMAT_VERSION = 2


def __getattr__(name: str) -> Any:
    native = getattr(transformers, name.removeprefix(PREFIX), None)
    if not (name.startswith(PREFIX) and name.endswith("Config")) or native is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A model type of our own: with the native one, loading without trust_remote_code would silently give a dense
    # model with random weights.
    config_class: Any = type(
        name,
        (native,),
        {
            "__module__": __name__,
            "__doc__": f"Configuration of a factorized model; see {native.__name__}.",
            "model_type": f"factorized_{native.model_type}",
        },
    )
    config_class.register_for_auto_class("AutoConfig")
    globals()[name] = config_class
    return config_class
