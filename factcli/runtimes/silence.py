"""Libraries that announce themselves, kept quiet."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def silent() -> Iterator[None]:
    """While the body runs exporters and quantizers neither log, nor warn, nor draw bars on stdout, which is for
    results, nor print on stderr half of the graph that they fail on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
