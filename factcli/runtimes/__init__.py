"""What runs a model without us: files in the formats of ONNX Runtime and OpenVINO, written, quantized, run. One file a
format; the registry is the only list."""

from . import onnx_files, openvino_files  # noqa: F401
from .formats import Format, Made, Session, formats

__all__ = ["Format", "Made", "Session", "formats"]
