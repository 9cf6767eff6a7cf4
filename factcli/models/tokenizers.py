"""The tokenizer of an export: of the class, and with the ids, that the source's has here."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto import processing_auto
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from ..notes import note
from .carried import VOCABULARIES

CONFIG = "tokenizer_config.json"
GENERIC, _GENERIC_5 = "PreTrainedTokenizerFast", "TokenizersBackend"  # one class; 4.57 knows the first name only
# A DistilBERT takes no token types, which the class that transformers 5 maps it to gives.
_BY_TYPE = {"distilbert": "DistilBertTokenizer"}
SAMPLES = ("A café for 1,234 people; don't ask why (yet).", "  two  spaces\tand\na line", "中文 и кириллица 🙂 <s>")


def name_classes(work: Path, kind: str, config: dict[str, Any]) -> None:
    """Name, in the files of an export, the classes of tokenizer and processor that the Auto classes take for the native
    model type `kind` where none is named: they could not guess from ours. What transformers 5 calls otherwise gets the
    name that 4.57 knows too."""
    file = work / CONFIG
    values = written = _read(file)
    named = values.get("tokenizer_class")
    if not named and not config.get("tokenizer_class") and _has_any(work):
        named = _BY_TYPE.get(kind) or TOKENIZER_MAPPING_NAMES.get(kind) or _GENERIC_5
        if named == _GENERIC_5 and not (work / "tokenizer.json").is_file():  # which alone needs no class of its own
            named = None
    if named == _GENERIC_5:
        values = {"model_input_names": ["input_ids", "attention_mask"]} | values  # its own; the other's has one more
    if named:
        values = values | {"tokenizer_class": GENERIC if named == _GENERIC_5 else named}
    if isinstance(values.get("extra_special_tokens"), list):
        values = {"additional_special_tokens" if k == "extra_special_tokens" else k: v for k, v in values.items()}
    if values != written:
        _write(file, values)
    file = work / "preprocessor_config.json"
    processors = [_read(work / name) for name in ("processor_config.json", "preprocessor_config.json", CONFIG)]
    guessed = processing_auto.PROCESSOR_MAPPING_NAMES.get(kind)  # type: ignore[attr-defined]
    if file.is_file() and guessed and not any(p.get("processor_class") for p in processors):
        _write(file, _read(file) | {"processor_class": guessed})


def settle(source: Path, config: PretrainedConfig, work: Path, ours: PretrainedConfig, trusted: bool) -> None:
    """See that the tokenizer in `work` gives the ids of the one in `source`; else name the class that does. `config`
    and `ours` are the configurations of the two models."""
    expected = load(source, config, trusted)
    if expected is None and _has_any(work):
        note("The tokenizer cannot be loaded here, and is in the export as it was, untried.")
    if expected is None or len(expected) <= len(expected.all_special_ids):  # none, or an empty one made from nothing
        return
    if _agree(expected, load(work, ours, trusted)):
        return
    found = type(expected).__name__
    values = _read(work / CONFIG)
    _write(work / CONFIG, values | {"tokenizer_class": GENERIC if found == _GENERIC_5 else found})
    if not _agree(expected, load(work, ours, trusted)):
        note("The tokenizer of the export gives other ids than the source's: load the source's tokenizer beside it.")


def load(folder: Path, config: PretrainedConfig, trusted: bool) -> PreTrainedTokenizerBase | None:
    """The tokenizer in a directory; None where none can be made here."""
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=not trusted, trust_remote_code=trusted
        )
    except Exception:  # tokenizers fail in as many ways as there are kinds of them
        return None
    return found


def _agree(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase | None) -> bool:
    if b is None:
        return False
    for text in SAMPLES:
        try:
            ids = a(text, verbose=False)["input_ids"]
        except Exception:  # it wants more than a text, such as boxes
            continue
        if ids != b(text, verbose=False)["input_ids"]:
            return False
    return len(a) == len(b)


def _has_any(work: Path) -> bool:
    return any((work / name).is_file() for name in (CONFIG, "tokenizer.json", *VOCABULARIES))


def _read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return values


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
