"""What a user may not read, or not write: said in a sentence, and nothing is half written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import factcli
from factcli.data.retrieval import read_collected, retrieval_task
from factcli.data.tables import read_table
from factcli.errors import FactcliError

from .rights import as_nobody
from .training_helpers import rows, save_model, write_csv


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
        for folder, *_ in os.walk(name):
            os.chmod(folder, 0o755)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.txt", "d.parquet", "d.arrow", "d.csv.gz"])
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_data_that_may_not_be_read(name: str, closed: str, place: Path) -> None:
    folder = place / "data"
    folder.mkdir()
    file, table = folder / name, pa.table({"text": ["a", "b"]})
    if name == "d.parquet":
        pq.write_table(table, file)
    elif name == "d.arrow":
        with pa.ipc.new_file(str(file), table.schema) as stream:
            stream.write_table(table)
    else:
        file.write_text("text\na\n")
    (file if closed == "file" else folder).chmod(0)
    with as_nobody(), pytest.raises(FactcliError) as refused:
        read_table(file)
    assert str(refused.value) == f"{file} cannot be read (Permission denied): check the path and its permissions."


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_collection_that_may_not_be_read(name: str, place: Path) -> None:
    (place / "corpus.jsonl").write_text('{"_id": "d", "text": "a"}\n')
    (place / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n')
    (place / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert len(read_collected(retrieval_task(place, None))) == 1
    (place / name).chmod(0)
    with (
        as_nobody(),
        pytest.raises(FactcliError, match=rf"{name} cannot be read \(Permission denied\): check the path"),
    ):
        read_collected(retrieval_task(place, None))


def test_a_directory_in_which_nothing_may_be_made(place: Path) -> None:
    save_model(place / "dense")
    (place / "locked").mkdir(mode=0o555)
    with as_nobody(asked=True), pytest.raises(FactcliError, match="locked is not writable: choose another --output"):
        factcli.convert(str(place / "dense"), place / "locked" / "out", keep=0.5)
    assert list((place / "locked").iterdir()) == []


def test_results_beside_a_model_that_is_for_reading_only(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are shown, and kept nowhere; a card is not asked for in vain."""
    model = save_model(place / "m", "bert", "BertForSequenceClassification", id2label={0: "no", 1: "yes"})
    file = write_csv(place / "d.csv", rows(8, 1))
    shutil.copytree(model, place / "open")
    shown = factcli.evaluate(str(place / "open"), validation=file)[0]["metrics"]
    before = sorted(path.name for path in model.iterdir())
    for path in (*model.iterdir(), model):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with as_nobody():
        assert factcli.evaluate(str(model), validation=file)[0]["metrics"] == shown
    said = f"{model / 'eval_results.json'} cannot be written (Permission denied): these results are not kept there."
    assert said in caplog.messages
    with as_nobody(asked=True), pytest.raises(FactcliError, match="m is not writable: leave out --update-card"):
        factcli.evaluate(str(model), validation=file, update_card=True)
    assert sorted(path.name for path in model.iterdir()) == before
