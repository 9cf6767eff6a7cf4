"""Every number that claims to be measured comes from a file of results, and a changed one does not pass."""

import re
from pathlib import Path

import pytest

from pages import numbers

README = numbers.ROOT / "README.md"
MOST_LINES = 150


@pytest.mark.parametrize("page", numbers.pages(), ids=lambda page: page.relative_to(numbers.ROOT).as_posix())
def test_the_numbers_of_a_page_are_those_of_the_results(page: Path) -> None:
    assert not numbers.problems(page.read_text(encoding="utf-8"))


def changed(text: str, at: re.Match[str]) -> str:
    """The page with one digit more or less at the end of a number."""
    last = int(at[0][-1])
    return text[: at.end() - 1] + str(last + 1 if last < 9 else 8) + text[at.end() :]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to/gpu.md", "docs/explanation/speed.md"])
def test_a_changed_number_is_found(page: str) -> None:
    """Every measured number of these pages in turn, as whoever writes one down may get it wrong."""
    text = (numbers.ROOT / page).read_text(encoding="utf-8")
    tried = 0
    for block in (b for b in numbers.blocks(text) if b.mark and b.mark[0] == "results"):
        start = text.index(block.text)
        body = text[start : start + len(block.text)]
        lines = body.splitlines(keepends=True)
        skipped = len("".join(lines[:2])) if body.startswith("|") else 0
        for found in numbers.MEASURED.finditer(text, start + skipped, start + len(block.text)):
            line = text[text.rindex("\n", 0, found.start()) + 1 : found.start()]
            if body.startswith("|") and line.count("|") < 2:
                continue  # the first cell is the name of a row
            if line.count("`") % 2 == 0:
                tried += 1
                assert numbers.problems(changed(text, found)), f"{found[0]} may be anything"
    assert tried > 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It loses 1.25 points.", "1.25 without a file"),
        ("It takes 40 ms.", "40 without a file"),
        ("| a | b |\n|---|---|\n| x | 3.5 |", "3.5 without a file"),
        ("```text\n12.5 MB\n```", "12.5 without a file"),
        ("<!-- results: nothing.md\na | b\n-->\n1.5 points", "no results nothing.md"),
        ("<!-- results: whole-model.md\nall at 0.99 | mean\n-->\n1.5 points", "0 cells are all at 0.99"),
        ("<!-- results: whole-model.md\nall at 0.25 | mean\n-->\n1.25 and 2.5 points", "2 numbers (1.25, 2.5), but 1"),
        ("<!-- results: whole-model.md\nall at 0.25 | mean\n-->\n1.3 points", ""),
        ("<!-- results: whole-model.md\nall at 0.25 | mean\n-->\n1.4 points", "1.4 is 1.25"),
        ("<!-- results: demo.md lines -->\n```text\nparameters 1\n```", "no line 'parameters 1'"),
        ("`--keep 0.25` and in 2024, of 1,000 tokens", ""),
        ("<!-- no measurement: a setting -->\nkeep 0.25", ""),
    ],
)
def test_what_is_said_of_a_number(text: str, said: str) -> None:
    found = numbers.problems(text)
    assert bool(found) == bool(said)
    assert said in "".join(found)


def test_readme_is_short_and_leads_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) > 10
    assert not [link for link in links if "://" not in link and not (numbers.ROOT / link).exists()]
