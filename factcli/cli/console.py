"""Results go to stdout, everything else to stderr; progress bars only for people."""

import gc
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..progress import Progress


def fail(message: str) -> None:
    """The one line of a failure; a token never leaves through it."""
    typer.echo(f"Error: {redact(message)}", err=True)


def redact(text: str) -> str:
    """`text` without anything that looks like an access token."""
    token = os.environ.get("HF_TOKEN")
    text = text.replace(token, "***") if token else text
    return re.sub(r"hf_[A-Za-z0-9]{8,}", "***", text)


def note(message: str) -> None:
    typer.echo(redact(message), err=True)


class Once(logging.Filter):
    """Lets a message through the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


class Notes(logging.Handler):
    """Prints what the library says through `factcli.notes`, one line each, and the same line once."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(Once())

    def emit(self, record: logging.LogRecord) -> None:
        note(" ".join(record.getMessage().split()))


def show_notes() -> None:
    """From here on; the library's callers have their own handlers, or logging's default."""
    logger = logging.getLogger("factcli")
    logger.propagate = False
    if not any(isinstance(handler, Notes) for handler in logger.handlers):
        logger.addHandler(Notes())


def result(values: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False))


@contextmanager
def importing() -> Iterator[None]:
    """Around the import of torch and transformers: their hundreds of thousands of objects live until the end, so the
    garbage collector need not look at them, now or at exit (a second and more of every command)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def quiet_libraries(verbose: bool, bars: bool = True) -> None:
    """Other libraries' warnings only with -v, and each once; `bars` of downloads and uploads only where someone
    watches."""
    import warnings

    if verbose:
        warnings.simplefilter("once")
        once = Once()
        handlers = {
            id(h): h for name in list(logging.root.manager.loggerDict) for h in logging.getLogger(name).handlers
        }
        for handler in (*handlers.values(), *logging.root.handlers, logging.lastResort):
            if handler is not None:
                handler.addFilter(once)
        return

    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not (bars and sys.stderr.isatty()):
        disable_progress_bars()


@contextmanager
def progress(what: str, shown: bool) -> Iterator["Progress | None"]:
    """What is told of steps, as a bar on stderr where a person watches, else None."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from .bars import Bar

    with Bar(what) as bar:
        yield bar.step


def pushed(result: dict[str, Any], quiet: bool) -> None:
    """Where a model was published, and how to load exactly it."""
    if not quiet:
        said = "Published" if result["changed"] else "Nothing changed:"
        note(f"{said} {result['repo_id']}, commit {result['commit']}. To load it:")
        note(f'from_pretrained("{result["repo_id"]}", revision="{result["commit"]}", trust_remote_code=True)')
    line(result["url"])


def line(text: str) -> None:
    """One line of a result on stdout."""
    typer.echo(text)
