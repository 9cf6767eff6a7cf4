"""Commands and programs on the pages are ones: options exist and may have such values, Python compiles."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from factcli.cli.app import app
from factcli.recipe.commands import COMMANDS
from pages import numbers

PAGES = numbers.pages()


def fenced(page: Path, language: str) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    yield from re.findall(rf"^ *```{language}\b[^\n]*\n(.*?)^ *```$", text, re.M | re.S)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every factcli command of a page, without comments."""
    for block in fenced(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            at = [i for i, word in enumerate(words) if word == "factcli" and "clone" not in words]
            if at and (at[0] == 0 or words[at[0] - 1] == "-m"):
                yield words[at[0] + 1 :]


def asked(words: list[str]) -> None:
    """Reads a command line as factcli does, and runs nothing. Raises what is wrong with it."""
    group = get_command(app)
    context = group.commands[words[0]].make_context(words[0], words[1:])  # type: ignore[attr-defined]
    made_from = next(c for c in COMMANDS if c.name == words[0])
    made_from.ask(
        {name: value for name, value in context.params.items() if value is not None and name in made_from.options}
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(numbers.ROOT).as_posix())
def test_commands_of_a_page_can_be_given(page: Path) -> None:
    for words in commands(page):
        if "--version" not in words:
            asked(words)


def test_there_are_commands_and_wrong_ones_are_seen() -> None:
    every = [words for page in PAGES for words in commands(page)]
    assert len(every) > 60
    assert {words[0] for words in every} == {command.name for command in COMMANDS}
    for wrong in (
        "convert m --kepe 0.5",
        "convert m --keep 1.5",
        "convert m --criterion k-fac",
        "eval m --task nothing",
    ):
        with pytest.raises(Exception, match=r"kepe|1\.5|k-fac|nothing"):
            asked(wrong.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(numbers.ROOT).as_posix())
def test_python_of_a_page_compiles(page: Path) -> None:
    for block in fenced(page, "python"):
        compile(block, page.name, "exec")
