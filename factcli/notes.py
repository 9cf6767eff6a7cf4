"""Sentences for the user that stop nothing: what was left out, changed or assumed."""

import logging
import os

_logger = logging.getLogger("factcli")


def note(sentence: str) -> None:
    """Say `sentence`, in the main process of a training: on stderr, or to whoever listens to the logger "factcli"."""
    if os.environ.get("RANK", "0") == "0":
        _logger.warning(sentence)
