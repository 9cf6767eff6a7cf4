"""Sentences for the user that stop nothing: what was left out, changed or assumed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_logger = logging.getLogger("factcli")


def note(sentence: str) -> None:
    """Say `sentence`, in the main process of a training: on stderr, or to whoever listens to the logger "factcli"."""
    if os.environ.get("RANK", "0") == "0":
        _logger.warning(sentence)


@contextmanager
def said_before() -> Iterator[None]:
    """Within the body nothing is said: it does once more what notes were made of."""
    before, _logger.disabled = _logger.disabled, True
    try:
        yield
    finally:
        _logger.disabled = before
