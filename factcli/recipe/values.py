"""How values are read that are more than a text or a number, and options that several groups have."""

import math
import re
from typing import Any

from .fields import option

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
PRECISIONS = (*DTYPES.values(), "int8")
TASKS = ("sst2", "mrpc", "rte", "qnli", "qqp", "mnli", "mnli-mm", "cola", "stsb", "wnli")  # of GLUE
BUDGETS = ("params", "keep", "rank", "max_mb")
BEST: dict[str, str] = {"criterion": "kfac", "allocation": "global"}  # what loses least where there are texts
# Of all occurrences. Measured (recipes/results/unseen-tokens.md): 0.1 loses half a point less where embeddings alone
# are factorized for texts of the kind that was counted, as much more with all matrices, and more on other texts.
UNSEEN = 0.3
DIRECT = "direct"  # all factors at once, then training
CUT = "kfac-vocabulary"  # which needs texts that say what stays
WAYS = ("dense", BEST["criterion"], "kfac-embeddings", CUT, "layers", "svd")  # what `frontier` compares
MOST_SEEDS = 1000
LARGEST_SEED = 2**32 - 1
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}


def count(text: Any) -> int:
    """ "44M", "1.2B", "44400000" or a number -> a count. Raises ValueError."""
    match = re.fullmatch(r"\s*([0-9][0-9_]*\.?[0-9]*(?:e[0-9]+)?)\s*([kmbg]?)\s*", str(text).lower())
    if not match or isinstance(text, bool):
        raise ValueError("is not a count of parameters: write 44M, 1.2B or 44400000")
    number = float(match[1].replace("_", "")) * _UNITS[match[2]]
    if not math.isfinite(number):
        raise ValueError("is more than any model has: write 44M, 1.2B or 44400000")
    return round(number)


def loss(value: Any) -> str:
    """ "0.5" (points of 100), "1%" (of a score) or a number of points -> the same as a text. Raises ValueError."""
    text = "".join(str(value).split())
    wrong = ValueError("is not what may be lost: write 0.5 for half a point of 100, or 1% of the dense model's score")
    try:
        amount = float(text.removesuffix("%"))
    except ValueError as error:
        raise wrong from error
    if isinstance(value, bool) or not 0 < amount < 100:
        raise wrong
    return text


def format_count(count: float) -> str:
    """44454144 -> "44.45M"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2f}{unit}"
    return str(int(count))


def dtype(text: Any) -> Any:
    """A precision by its name, its short one, or as torch has it -> its name."""
    name = str(text).removeprefix("torch.")
    return DTYPES.get(name, name)


def dtypes(value: Any) -> Any:
    """Precisions as `dtype` reads them, each once."""
    parts = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(dict.fromkeys(dtype(part) for part in parts))


def numbers(value: Any) -> tuple[int, ...]:
    """ "1,8,32", a number or numbers -> the numbers. Raises ValueError."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else (value,)
    try:
        return tuple(int(part) if isinstance(part, str) else part for part in parts)
    except ValueError as error:
        raise ValueError("is not a list of whole numbers such as 1,8,32") from error


def fractions(value: Any) -> tuple[float, ...]:
    """ "0.5,0.25", a number or numbers -> the fractions, each once. Raises ValueError for one that is none."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else (value,)
    wrong = ValueError("is not a list of fractions between 0 and 1, such as 0.5,0.25")
    try:
        found = tuple(dict.fromkeys(float(part) for part in parts))
    except (TypeError, ValueError) as error:
        raise wrong from error
    if any(isinstance(part, bool) for part in parts) or not found or not all(0 < one < 1 for one in found):
        raise wrong
    return found


def seeds(text: Any) -> tuple[int, ...]:
    """ "1-6" or "1,2,5" -> the seeds. Raises ValueError."""
    if not isinstance(text, str):
        return tuple(text) if isinstance(text, (list, tuple)) else (text,)
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ValueError("is not a list such as 1-6 or 1,2,5")
        if int(last or first) > LARGEST_SEED:
            raise ValueError(f"has a seed that is not a whole number from 0 to {LARGEST_SEED}")
        if int(last or first) - int(first) >= MOST_SEEDS:
            raise ValueError(f"are more than {MOST_SEEDS}, a run each: give fewer")
        found += range(int(first), int(last or first) + 1)
    if len(set(found)) != len(found):
        raise ValueError("names a seed twice")
    return tuple(found)


DTYPE = option(None, "Precision to save in.", "the source's", known=tuple(DTYPES.values()), read=dtype)
SEED = option(
    0, "Seed of anything random.", quiet=True, ge=0, le=LARGEST_SEED, called=f"a whole number from 0 to {LARGEST_SEED}"
)
