"""Texts to calibrate files on, and others to check them on."""

from pathlib import Path

from ..calibration.data import CalibrationOptions, load_examples
from ..models.fit import Features, Fit
from ..notes import note
from ..recipe.running import Data, Exporting
from ..scores.exams import Questions
from .make import Rows

CHECKED = 100  # texts without labels that files are compared on


def read_rows(how: Exporting, data: Data, fit: Fit, config: object, exam: Questions | None) -> Rows:
    """The rows that the options name: `calibration_samples` to calibrate on, and CHECKED others of the same texts, as
    far as there are any, where there is no exam. Raises FactcliError as `load_examples`."""
    if how.calibration is None:
        return Rows(exam=exam)
    more = 0 if exam is not None else CHECKED
    options = CalibrationOptions(
        how.calibration, how.calibration_samples + more, data.max_length, text_column=data.text_column,
        data_dir=Path(data.data_dir) if data.data_dir is not None else None, revision=data.data_revision,
    )  # fmt: skip
    found: list[Features] = [
        {"input_ids": list(e.ids)} | ({"token_type_ids": list(e.types)} if e.types is not None else {})
        for e in load_examples(options, fit, config, labelled=False)  # type: ignore[arg-type]
    ]
    count = max(0, min(more, len(found) - how.calibration_samples))
    if exam is None and not count:
        note(f"{how.calibration} has {len(found)} texts: files are calibrated and checked on the same ones.")
        return Rows(found, found)
    apart = {i * len(found) // count for i in range(count)}  # of every part of a file that may be sorted
    return Rows([f for i, f in enumerate(found) if i not in apart], [found[i] for i in sorted(apart)], exam)
