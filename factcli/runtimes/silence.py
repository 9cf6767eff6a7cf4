"""Libraries that announce themselves, kept quiet."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def silent() -> Iterator[None]:
    """While the body runs exporters and quantizers neither log, nor warn, nor draw bars on stdout, which is for
    results, nor print on stderr half of the graph that they fail on. What they set up for logging meanwhile is nothing
    to those who log afterwards."""
    before, of_all, stderr = logging.root.manager.disable, logging.root.handlers[:], sys.stderr
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w") as nowhere:
            try:
                with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
                    warnings.simplefilter("ignore")
                    yield
            finally:
                logging.root.handlers[:] = of_all
                for logger in logging.root.manager.loggerDict.values():
                    for handler in getattr(logger, "handlers", ()):
                        if getattr(handler, "stream", None) is nowhere:
                            handler.setStream(stderr)
    finally:
        logging.disable(before)
