"""Exports with ONNX and OpenVINO files, as those load them who have no factcli."""
