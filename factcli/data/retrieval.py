"""Collections to search, in the layout of BEIR: documents, queries, and which of them belong together."""

import json
import math
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FactcliError, UsageError, one_line
from ..notes import note
from .hub_sets import parse_id, read_hub
from .names import number
from .tables import Table, read_table
from .tasks import RETRIEVAL, Task
from .text import not_utf8, reading

CORPUS, QUERIES, QRELS = "corpus", "queries", "qrels"
SPLIT = "test"
METRICS = ("ndcg@10", "recall@100", "mrr@10")
_JUDGED = ("query-id", "corpus-id", "score")
_ENTRY = '{"_id": "...", "text": "..."}'
_LAYOUT = "corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv)"
_ROWS = 1000  # of a table at a time


@dataclass(frozen=True)
class Entries:
    """Objects with an id and a text, read anew each time: (number, object), numbers counting from 1. `where` they are
    is what sentences call it, `unit` what is numbered."""

    where: str
    unit: str
    read: Callable[[], Iterator[tuple[int, Mapping[str, Any]]]]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Ids and texts; a title stands before its text. Raises FactcliError for an entry without either."""
        for row, entry in self.read():
            name, text, title = entry.get("_id"), entry.get("text"), entry.get("title") or ""
            if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
                raise FactcliError(f"{self.unit} {row} of {self.where} has no _id: write {_ENTRY}.")
            if not isinstance(text, str) or not isinstance(title, str):
                raise FactcliError(f"{self.unit} {row} of {self.where} has no text that is one: write {_ENTRY}.")
            yield str(name), f"{title} {text}".strip() if title else text


@dataclass(frozen=True)
class Collected:
    """What is to be found. `queries` are texts; for each of them `relevant` has the documents that belong to it, by
    their place in the corpus, with their grade (above 0), and `own` the place of the document that has the query's own
    id, -1 for none. `documents` gives all `size` texts of the corpus in order, anew each time, from where they lie.
    """

    queries: list[str]
    relevant: list[dict[int, float]]
    own: list[int]
    size: int
    documents: Callable[[], Iterator[str]]

    def __len__(self) -> int:
        return len(self.queries)


def retrieval_task(where: str | Path, split: str | None) -> Task:
    """What is searched: a directory, or a data set of the Hub (owner/name, in mteb's layout). Raises FactcliError for
    what is neither, and a directory that lacks the files."""
    folder = Path(where)
    if not folder.is_dir():
        if hub_id(where) is None:
            kind = "is a file" if folder.is_file() else "is neither a directory nor a Hub id owner/name"
            raise FactcliError(f"--retrieval {where} {kind}: give a directory with {_LAYOUT}.")
        return Task(str(where), (), (), METRICS, None, RETRIEVAL, split or SPLIT)
    paths = {name: folder / f"{name}.jsonl" for name in (CORPUS, QUERIES)} | {QRELS: _judged_in(folder, split)}
    for path in paths.values():
        if not path.is_file():
            raise FactcliError(f"{path} is not there: --retrieval takes a directory with {_LAYOUT}.")
    return Task(folder.resolve().name, (), (), METRICS, None, RETRIEVAL, split or SPLIT, paths=paths)


def hub_id(where: str | Path) -> str | None:
    """The id of a data set of the Hub, None for what is a directory of this machine, or no id."""
    if Path(where).exists():
        return None
    found = parse_id(str(where))
    if found is not None and found[1] is not None:
        raise UsageError(f"--retrieval {where} names a configuration, of which all are read: give {found[0]} alone.")
    return found[0] if found else None


def _judged_in(folder: Path, split: str | None) -> Path:
    whole, parts = folder / "qrels.tsv", folder / QRELS
    if split is None:
        return whole if whole.is_file() or not parts.is_dir() else parts / f"{SPLIT}.tsv"
    if not (parts / f"{split}.tsv").is_file():
        there = sorted(file.stem for file in parts.glob("*.tsv"))
        has = f"there {'is' if len(there) == 1 else 'are'} {', '.join(there)}" if there else "leave out --split"
        raise FactcliError(f"{parts / split}.tsv is not there: {has}.")
    return parts / f"{split}.tsv"


def read_collected(task: Task, limit: int | None = None, revision: str | None = None) -> Collected:
    """The queries of a split that something is relevant to (the first `limit` of them), and the corpus.

    Raises FactcliError naming the line of what is not as it should be, for ids that are there twice, and for relevance
    of what is not there.
    """
    corpus, asked, judgements = _of_files(task) if task.paths else _of_hub(task, revision)
    judged = _judged(judgements)
    queries = dict(_once(asked))
    _check_known(judged, queries, judgements.where, "queries", asked.where)
    idle = {name for name in judged if not any(grade > 0 for grade in judged[name].values())}
    if len(idle) == len(judged):
        raise FactcliError(f"{judgements.where} has no document with a score above 0 for any query: nothing to find.")
    if idle:
        note(f"{len(idle)} queries of {judgements.where} have no document with a score above 0 and are left out.")
    if len(judged) < len(queries):
        note(f"{len(queries) - len(judged)} of {len(queries)} queries are not in {judgements.where} and are not asked.")
    names = [name for name in queries if name in judged and name not in idle][:limit]
    documents = dict.fromkeys(document for grades in judged.values() for document in grades)
    size, places = _places(corpus, {*documents, *names})
    _check_known(documents, places, judgements.where, "documents", corpus.where)
    return Collected(
        [queries[name] for name in names],
        [{places[d]: grade for d, grade in judged[name].items() if grade > 0} for name in names],
        [places.get(name, -1) for name in names], size,
        lambda: (text for _, text in corpus.texts()),
    )  # fmt: skip


def _of_files(task: Task) -> tuple[Entries, Entries, Table]:
    corpus, queries = (Entries(str(p), "Line", partial(_lines, p)) for p in (task.paths[CORPUS], task.paths[QUERIES]))
    return corpus, queries, read_table(task.paths[QRELS])


def _of_hub(task: Task, revision: str | None) -> tuple[Entries, Entries, Table]:
    otherwise = f"connect, or give --retrieval DIR with {_LAYOUT}"
    corpus, queries, judged = (
        read_hub(task.name, name, split, revision, otherwise)
        for name, split in ((CORPUS, CORPUS), (QUERIES, QUERIES), ("default", task.validation))
    )
    return _entries(corpus), _entries(queries), judged


def _entries(table: Table) -> Entries:
    wanted = [name for name in ("_id", "title", "text") if name in table.names]

    def read() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for start in range(0, table.rows, _ROWS):
            part = replace(table, columns=tuple(column[start : start + _ROWS] for column in table.columns))
            for row, values in enumerate(zip(*map(part.values, wanted), strict=True), start + 1):
                yield row, dict(zip(wanted, values, strict=True))

    return Entries(table.where, "Row", read)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file with one a line, without more of it in memory than that line."""
    with reading(path):
        file = path.open("rb")
    with file:
        for row, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line.decode("utf-8-sig" if row == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise FactcliError(f"{path} {not_utf8(line, error, f'line {row}')}") from error
            except (ValueError, RecursionError) as error:
                raise FactcliError(
                    f"Line {row} of {path} is not JSON ({one_line(error)[:120]}): write {_ENTRY} on each line."
                ) from error
            if not isinstance(found, dict):
                raise FactcliError(f"Line {row} of {path} is no object: write {_ENTRY} on each line.")
            if b"\\ud" in line.lower() and not _encodes(found):
                raise FactcliError(
                    f"Line {row} of {path} has half of a surrogate pair (\\ud800 to \\udfff): repair it."
                )
            yield row, found


def _encodes(entry: Mapping[str, Any]) -> bool:
    try:
        return bool(json.dumps(entry, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def _once(entries: Entries) -> Iterator[tuple[str, str]]:
    """Ids and texts. Raises FactcliError for an id that is there twice, and for none at all."""
    seen: set[str] = set()
    for name, text in entries.texts():
        if name in seen:
            raise _twice(name, entries)
        seen.add(name)
        yield name, text
    if not seen:
        raise FactcliError(f"{entries.where} is empty: write {_ENTRY} on each line.")


def _places(corpus: Entries, wanted: Collection[str]) -> tuple[int, dict[str, int]]:
    """How many documents there are, and the places of those that are `wanted`. Of the others eight bytes each are held,
    which tell ids that are there twice."""
    digests = array("Q")
    places: dict[str, int] = {}
    for place, (name, _) in enumerate(corpus.texts()):
        digests.append(_digest(name))
        if name in wanted:
            places.setdefault(name, place)
    if not digests:
        raise FactcliError(f"{corpus.where} is empty: write {_ENTRY} on each line.")
    values, counts = np.unique(np.frombuffer(digests, np.uint64), return_counts=True)
    again = set(values[counts > 1].tolist())
    seen: set[str] = set()
    for name, _ in corpus.texts() if again else ():
        if _digest(name) in again:
            if name in seen:
                raise _twice(name, corpus)
            seen.add(name)
    return len(digests), places


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def _twice(name: str, entries: Entries) -> FactcliError:
    return FactcliError(f"{entries.where} has the _id {name!r} twice: name each text once.")


def _judged(table: Table) -> dict[str, dict[str, float]]:
    """Query -> document -> grade."""
    if not set(_JUDGED) <= set(table.names):
        raise FactcliError(
            f"{table.where} has the columns {table.listed}: write {', '.join(_JUDGED)} as its first row, with tabs "
            "between them."
        )
    found: dict[str, dict[str, float]] = {}
    for row, (query, document, score) in enumerate(zip(*map(table.values, _JUDGED), strict=True), 1):
        grade = number(score) if isinstance(score, str) else score
        if isinstance(grade, bool) or not isinstance(grade, int | float) or not math.isfinite(grade):
            raise FactcliError(f"Row {row} of {table.where} has the score {score!r}, not a number.")
        grades = found.setdefault(str(query), {})
        if grades.setdefault(str(document), float(grade)) != grade:
            raise FactcliError(f"Row {row} of {table.where} has another score for what an earlier row has: keep one.")
    return found


def _check_known(named: Collection[str], known: Collection[str], where: str, what: str, there: str) -> None:
    unknown = [name for name in named if name not in known]
    if unknown:
        raise FactcliError(
            f"{where} names {len(unknown)} {what} that {there} does not have, first {unknown[0]!r}: take files that "
            "belong together."
        )
