"""Runtimes tell their makers what users do, unless something tells them not to: here that happens at their import."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of ONNX Runtime (from 1.29 on), of OpenVINO and NNCF: in CI they send nothing. Their opt-out for users is a file in
# the home, which is not ours to write. All are read once, at the first import.
_UNSENT = {"ORT_DISABLE_TELEMETRY": "1", "CI": "true", "NNCF_CI": "1"}


@contextmanager
def untold() -> Iterator[None]:
    """Runtimes that are imported in the body, for the first time in the process, send nothing, and leave no number for
    the user in their home. The environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in _UNSENT}
    os.environ.update(_UNSENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def onnxruntime_untold() -> Any:
    """The module; on Windows, where no variable counts, its own switch does."""
    with untold():
        import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
