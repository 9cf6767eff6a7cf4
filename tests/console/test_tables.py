"""Tables: within the width, with nothing lost, numbers on the right."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcli.cli.tables import Columns, alike, columns, laid_out

WORDS = st.text("abcdefgh", min_size=1, max_size=10)


@st.composite
def tables(draw: st.DrawFn) -> Columns:
    names = draw(st.lists(WORDS, min_size=2, max_size=9, unique=True))
    table = columns(*names, keys=draw(st.integers(1, 2)))
    for number in range(draw(st.integers(1, 4))):
        cells = [draw(st.sampled_from(["1.25", "10", "yes", "0.5"])) for _ in names[1:]]
        table.add_row(draw(WORDS) * draw(st.integers(1, 3)) + str(number), *cells)
    return table


def plain(table: Columns, width: int) -> list[str]:
    return [re.sub(r"\x1b\[\d+m", "", line) for line in laid_out(table, width)]


@given(tables(), st.integers(45, 120))
def test_it_fits_and_holds_everything(table: Columns, width: int) -> None:
    lines = plain(table, width)
    assert max(map(len, lines)) <= width
    words = re.split(r"[\s,]+", "\n".join(lines))
    for name, *cells in table.columns:
        assert name in words
        assert set(cells) <= set(words)


def test_numbers_stand_under_each_other_and_empty_columns_are_left_out() -> None:
    table = columns("model", "ms", "", "empty")
    table.add_row("small", "1.25", "faster", "")
    table.add_row("larger", "110.50", "", "")
    assert plain(table, 80) == ["model       ms", "small     1.25  faster", "larger  110.50"]


def test_what_all_have_in_common_is_said_above_where_room_is_short() -> None:
    table = columns("model", "backend", "score", "split", keys=2)
    for name in ("a", "b"):
        table.add_row(name, "onnx", "0.5" if name == "a" else "0.25", "validation")
    assert plain(table, 40)[0].startswith("model  backend  score  split")
    assert plain(table, 20) == ["backend onnx, split", "validation", "model  score", "a        0.5", "b       0.25"]


def test_long_names_have_lines_of_their_own() -> None:
    table = columns("file", "a", "b")
    table.add_row("x" * 30, "1", "22222")
    table.add_row("y" * 30, "333", "4")
    assert plain(table, 36) == ["file", "    a      b", "x" * 30, "    1  22222", "y" * 30, "  333      4"]


def test_a_column_has_as_many_decimals_as_its_smallest_number_needs() -> None:
    assert alike([0.123456, 12.3456]) == ["0.123", "12.346"]
    assert alike([123.456, 4567.8]) == ["123", "4,568"]
    assert alike([12.3456, 0.0]) == ["12.3", "0.0"]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_name_wider_than_all_there_is(rows: int) -> None:
    table = columns("model", "task", "accuracy", "seconds")
    for row in range(rows):
        table.add_row("/cache/" + "snapshot" * 8 + str(row), "sst2", f"0.9{row}", "1.5")
    found = plain(table, 40)
    text = " ".join(found)
    for word in ("sst2", "0.90", "1.5", "accuracy", "snapshot0"):
        assert word in text
    assert all(len(line) <= 40 for line in found if "snapshot" not in line)
