"""Tables, texts and any bytes are read as they were written, or refused in one sentence."""

import re
from pathlib import Path

from hypothesis import event, given
from hypothesis import strategies as st

from factcli import FactcliError
from factcli.data.tasks import load_split, user_task

from .shared import some
from .tables import TABLES, TEXTS, Table

BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(st.characters(codec="utf-8"), max_size=60).map(str.encode),
    TABLES.flatmap(lambda t: st.integers(0, len(t.data)).map(lambda at: t.data[:at])),
    TABLES.flatmap(lambda t: st.tuples(st.integers(0, len(t.data)), st.binary(max_size=4)).map(
        lambda change: t.data[:change[0]] + change[1] + t.data[change[0]:])),
)  # fmt: skip


def same_label(found: str, written: str) -> bool:
    """As it was written, but for spaces around it and for 1.0, which may be 1."""
    plain = written.strip()
    return found in (plain, re.sub(r"^(-?\d+)\.0$", r"\1", plain))


@given(table=TABLES)
@some(0.35)
def test_tables_are_read_as_they_were_written(table: Table, folder: Path) -> None:
    file = table.write(folder)
    text, label = table.columns
    try:
        task = user_task({"validation": file}, [text], label)
        data = load_split(task, "validation")
    except FactcliError:
        if table.plain:
            raise
        event("refused")
        return
    event(f"read: {table.name}")
    if task.regression:
        assert [float(x) for x in data["label"]] in [[float(x) for _, x in rows] for rows in table.whole()]
        return
    found = list(zip(data["text"], data["label"], strict=True))
    names = [task.labels[x] if isinstance(x, int) else x for _, x in found]
    assert any(
        len(found) == len(rows)
        and all(t.strip() == given.strip() for (t, _), (given, _) in zip(found, rows, strict=True))
        and all(isinstance(n, list) or same_label(n, given) for n, (_, given) in zip(names, rows, strict=True))
        for rows in table.whole()
    ), (found, names, table.whole())


@given(
    content=st.lists(st.one_of(TEXTS, st.just("")), max_size=8), end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans()
)
@some(0.09)
def test_texts_are_lines(content: list[str], end: str, mark: bool, folder: Path) -> None:
    file = folder / "texts.txt"
    written = end.join(content)
    file.write_bytes(written.encode("utf-8-sig" if mark else "utf-8"))
    with file.open(encoding="utf-8-sig") as lines:
        expected = [line.strip() for line in lines if line.strip()]
    try:
        found = list(load_split(user_task({"train": file}, (), None), "train")["text"])
    except FactcliError:
        if expected:
            raise
        return
    assert found == expected


@given(
    data=BYTES,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".csv.gz", ".jsonl.gz", ""]),
)
@some(0.1)
def test_any_bytes_are_a_table_or_a_sentence(data: bytes, suffix: str, folder: Path) -> None:
    file = folder / f"bytes{suffix}"
    file.write_bytes(data)
    for column in ("label", None):
        try:
            task = user_task({"train": file}, (), column)
            assert len(load_split(task, "train")) > 0
        except FactcliError as error:
            if "\n" in str(error):
                raise
