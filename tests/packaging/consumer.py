"""What somebody writes who has factcli from a package index, for type checkers that see the installed wheel alone."""

from pathlib import Path
from typing import Any

import factcli


def smaller(model: str, texts: Path) -> str:
    made: dict[str, Any] = factcli.convert(model, Path("small"), keep=0.4, criterion="kfac", calibration=str(texts))
    scores: list[dict[str, Any]] = factcli.evaluate([model, made["output"]], validation=texts)
    speed: dict[str, Any] = factcli.bench(["small"], baseline=model, batch_size=[1, 8])
    return f"{made['error']} {scores[0]['metrics']} {speed['ratios']}"


def refused(model: str) -> str | None:
    try:
        factcli.diagnose(model, progress=lambda done, total, step: print(done / total, step))
    except factcli.FactcliError as error:
        return str(error)
    return None


wrong = factcli.convert(1.5, keep="much", nonsense=True)  # what a checker must complain of: the types are there
