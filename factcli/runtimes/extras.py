"""The packages of the runtimes, which the extras `onnx` and `openvino` install."""

from importlib.metadata import version
from importlib.util import find_spec

from ..errors import Lacking

PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
}


def need(extra: str) -> None:
    """Raises FactcliError where a package of an extra is not installed."""
    missing = [name for name in PACKAGES[extra] if find_spec(name) is None]
    if missing:
        raise Lacking(f"{missing[0]} is not installed: pip install 'factcli[{extra}]'.")


def versions(extra: str) -> dict[str, str]:
    """Of its packages, for the provenance of what they write."""
    return {name: version(name) for name in PACKAGES[extra]}
