"""python -m pages: writes the pages that are made from the code; with --check, says which are not as they should be."""

import sys
from collections.abc import Callable
from pathlib import Path

from . import errors, json_reference, numbers

MADE: dict[Path, Callable[[], str]] = {errors.PAGE: errors.page, json_reference.PAGE: json_reference.page}


def stale() -> list[Path]:
    """Pages that are not what the code makes."""
    return [file for file, make in MADE.items() if not file.is_file() or file.read_text(encoding="utf-8") != make()]


def wrong_numbers() -> list[str]:
    """Numbers of pages that no file of results has."""
    return [
        f"{page.relative_to(numbers.ROOT)}, {problem}"
        for page in numbers.pages()
        for problem in numbers.problems(page.read_text(encoding="utf-8"))
    ]


def main() -> None:
    if "--check" in sys.argv:
        said = [f"{file.name} is not current: run python -m pages" for file in stale()] + wrong_numbers()
        sys.exit("\n".join(said) if said else 0)
    for file in stale():
        file.write_text(MADE[file](), encoding="utf-8")


if __name__ == "__main__":
    main()
