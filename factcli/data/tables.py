"""Tables in files: csv, tsv, jsonl and parquet, read as they are written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ..errors import FactcliError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")


def read_table(path: Path) -> pa.Table:
    """The rows of one file; a .txt is one column `text`, a line each. Texts such as "NA" or "null" stay texts.

    In a tsv quotes are ordinary characters (as in GLUE), in a csv they enclose fields, which may hold line ends.
    Raises FactcliError for a file that is absent, unreadable, empty or of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FactcliError(f"{path} is not a kind of file that is read: give {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise FactcliError(f"{path} is not there: check the path.")
    if path.stat().st_size == 0:
        raise FactcliError(f"{path} is empty: give a file with rows.")
    try:
        table = _read(path, suffix)
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(f"{path} cannot be read as {suffix[1:]} in UTF-8: {reason}") from error
    if table.num_rows == 0:
        raise FactcliError(f"{path} has no rows: give a file with at least one.")
    return table


def _read(path: Path, suffix: str) -> pa.Table:
    if suffix == ".parquet":
        return pa.parquet.read_table(path)
    if suffix in (".jsonl", ".json"):
        return pa.json.read_json(path)
    if suffix == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        return pa.table({"text": pa.array([line for line in lines if line], pa.string())})
    parsing = pa.csv.ParseOptions(
        delimiter="\t" if suffix == ".tsv" else ",",
        quote_char=False if suffix == ".tsv" else '"',
        newlines_in_values=suffix == ".csv",
    )
    return pa.csv.read_csv(path, parse_options=parsing)
