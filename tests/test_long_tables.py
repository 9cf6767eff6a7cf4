"""Tables of many rows."""

import csv
import json
import time
from pathlib import Path

import pytest

from factcli.data.tables import read_table


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "txt"])
def test_long_files_take_no_more_than_their_length(kind: str, tmp_path: Path) -> None:
    """Reading that looks at all of the file for each of its rows would take many minutes here."""
    texts = [f"row {i} é of many, all alike" for i in range(60_000)]
    objects = [json.dumps({"text": text}) for text in texts]
    file = tmp_path / f"long.{kind}"
    if kind == "csv":
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text",), *((text,) for text in texts)])
    else:
        whole = {"jsonl": "\n".join(objects), "json": f"[{','.join(objects)}]", "txt": "\n".join(texts)}[kind]
        file.write_text(whole, encoding="utf-8")
    started = time.process_time()
    assert read_table(file).values("text") == texts
    assert time.process_time() - started < 30
