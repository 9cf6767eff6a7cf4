"""Files as bytes and as text: compressions, encodings, and what to do about others."""

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ..errors import FactcliError, one_line

_SIGNATURES = {
    b"\x1f\x8b": "gzip-compressed (.gz)",
    b"BZh": "bzip2-compressed (.bz2)",
    b"\xfd7zXZ\x00": "xz-compressed (.xz)",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed (.zst)",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "parquet (.parquet)",
    b"ARROW1": "arrow (.arrow)",
    b"%PDF": "a PDF",
}
_MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}


def _zstandard(data: bytes) -> bytes:
    found: bytes = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return found


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _zstandard,
}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what looks at a file or opens it. Raises FactcliError where the system does not allow it."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else one_line(error)  # pyarrow's text is longer
        raise FactcliError(f"{path} cannot be read ({reason}): check the path and its permissions.") from error


def read_bytes(path: Path) -> bytes:
    """What a file holds, decompressed where its suffix says so. Raises FactcliError where that cannot be had."""
    with reading(path):
        data = path.read_bytes()
    decompress = COMPRESSIONS.get(path.suffix.lower())
    if decompress is None:
        return data
    try:
        return decompress(data)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise FactcliError(
            f"{path} is damaged, or not compressed as its name says ({' '.join(str(error).split())[:100]}): make it "
            "anew, or name it as it is."
        ) from error


def decode(data: bytes, where: str, row_at: Callable[[str], str]) -> str:
    """`data` as text: UTF-8, or what a byte-order mark says. `row_at` names the row that follows a piece of it.

    Raises FactcliError for other encodings, naming the likely one, and for what is no text at all.
    """
    kind = next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
    if kind is not None:
        raise FactcliError(f"{where} is {kind}, not what its name says: rename it, or save its table as csv.")
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data:
        wide = _wide(data)
        if wide is not None:
            raise FactcliError(f"{where} is not UTF-8 but {wide} without a byte-order mark: {_convert(wide)}.")
        row = row_at(data[: data.index(b"\0")].decode("utf-8", "replace"))
        raise FactcliError(f"{where} has a NUL byte in {row}, so it is no text or damaged: take it out.")
    try:
        text = data.decode(marked or "utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(marked or "utf-8", "ignore")
        if marked not in (None, "utf-8-sig"):
            raise FactcliError(
                f"{where} begins as {str(marked).upper()} but is damaged in {row_at(before)}: save it anew, as UTF-8."
            ) from error
        raise FactcliError(f"{where} {not_utf8(data, error, row_at(before))}") from error
    if "\0" in text:
        row = row_at(text[: text.index("\0")])
        raise FactcliError(f"{where} has a NUL character in {row}, so it is damaged: take it out.")
    return text


def line_after(before: str) -> str:
    """The line in which the text after `before` stands."""
    return f"line {before.replace(chr(13) + chr(10), chr(10)).replace(chr(13), chr(10)).count(chr(10)) + 1}"


def not_utf8(data: bytes, error: UnicodeDecodeError, place: str) -> str:
    """The rest of a sentence about `data` that is not UTF-8, `place` being where."""
    byte = f"byte 0x{data[error.start]:02x}"
    if _single_bytes(data):
        return f"is not UTF-8 ({byte} in {place}) but probably Windows-1252 (Latin-1): {_convert('Windows-1252')}."
    return f"is not UTF-8 ({byte} in {place}), and its encoding cannot be told: {_convert('ENCODING')}."


def _convert(encoding: str) -> str:
    return f"save it as UTF-8, for instance with iconv -f {encoding.upper()} -t UTF-8 FILE > NEW"


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark shows in the NUL bytes of its Latin letters, commas and line ends."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if min(even, odd) * 10 > max(even, odd) or max(even, odd) * 20 < len(data):
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"


def _single_bytes(data: bytes) -> bool:
    """True where bytes above ASCII mostly stand alone, between letters, as those of Western European languages do."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", data)]
    return sum(length == 1 for length in runs) * 2 >= len(runs)
