"""Every sentence that a user can meet is met by a test: what the tests hear is kept beside what the code can say.

    python -m tests.said     after a run of all tests: the sentences that none of them met, and 1 where there are any

Heard are the errors and notes of the test process, and what the processes print that it starts by tests.processes.
"""

import functools
import json
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from factcli.errors import FactcliError
from pages.errors import Sentence, sentences

from .unsaid import ELSEWHERE

FOLDER = Path(__file__).parent.parent / ".cache" / "said"
_FILLED = r"⟨(?:[^⟨⟩]|⟨[^⟨⟩]*⟩)*⟩"  # what is filled in, which may have something filled in itself
_texts: set[str] = set()


def hear(text: str) -> None:
    """Something that factcli said."""
    _texts.update(" ".join(line.split()) for line in (text, *text.splitlines()))


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        hear(record.getMessage())


def listen() -> None:
    """From now on every error that is made in this process, and every note, is heard."""

    @functools.wraps(FactcliError.__init__)
    def heard(self: FactcliError, *args: object) -> None:
        Exception.__init__(self, *args)
        hear(str(self))

    FactcliError.__init__ = heard  # type: ignore[method-assign]
    logging.getLogger("factcli").addHandler(_Notes())


def keep(name: str) -> None:
    """Write down what was heard in the process of this name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(sorted(_texts)), encoding="utf-8")


def forget() -> None:
    """What earlier runs heard."""
    for file in FOLDER.glob("*.json"):
        file.unlink()


def met(sentence: str, texts: Iterable[str]) -> bool:
    """Whether a text has the sentence, whatever is filled in between ⟨ and ⟩."""
    parts = re.split(_FILLED, sentence.strip())
    longest = max(parts, key=len)
    whole = re.compile(".*?".join(re.escape(part) for part in parts).removeprefix(".*?"))
    return any(longest in text and whole.search(text) is not None for text in texts)


def unmet(texts: Iterable[str]) -> list[Sentence]:
    """The sentences that are in no text."""
    known = list(texts)
    return [one for one in sentences() if not met(one.text, known)]


def main() -> int:
    texts = {text for file in FOLDER.glob("*.json") for text in json.loads(file.read_text(encoding="utf-8"))}
    known = {one.text for one in sentences()}
    lacking = [one for one in unmet(texts) if one.text not in ELSEWHERE]
    gone = [text for text in ELSEWHERE if text not in known]
    lines = [f"No test meets ({one.place}): {one.text}" for one in lacking]
    lines += [f"tests/unsaid.py has what is said no more: {text}" for text in gone]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
