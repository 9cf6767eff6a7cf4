"""The lines of a card that run a file without PyTorch: its runtime, tokenizers and numpy are enough."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.tasks import GLUE
from ..models.trained import read_trained
from ..models.vectors import MODULES, Vectors, find_vectors

_TEXTS = ["A first text.", "A second one, which is longer."]
_PAIRS = [("A first text.", "A second one, which is longer."), ("It rains.", "It pours.")]
_QUESTIONS = [("Who was first?", "Anna was first, and Bert came second."), ("Who came?", "Bert.")]
_GIVEN = {"input_ids": "text.ids", "attention_mask": "text.attention_mask", "token_type_ids": "text.type_ids"}
_MEAN = (
    'mask = inputs["attention_mask"][..., None]',
    "embeddings = (hidden * mask).sum(1) / mask.sum(1)",
)
_POOLED = {"mean": _MEAN, "cls": ("embeddings = hidden[:, 0]",)}
_SPAN = (
    "context = np.array([[part == 1 for part in text.sequence_ids] for text in texts])",
    "first = np.where(context, start, -np.inf).argmax(1)",
    "behind = np.arange(start.shape[1]) >= first[:, None]",
    "last = np.where(context & behind, end, -np.inf).argmax(1)",
    "found = zip(pairs, texts, first, last)",
    "answers = [pair[1][text.offsets[i][0] : text.offsets[j][1]] for pair, text, i, j in found]",
)
_OF_TOKENS = (
    "answers = [",
    "    [(token, {label}) for token, i, kept in zip(text.tokens, row.argmax(-1), text.attention_mask) if kept]",
    "    for text, row in zip(texts, logits)",
    "]",
)


def _onnx(names: Sequence[str], outputs: Sequence[str]) -> list[str]:
    one = "[0]" if len(outputs) == 1 else ""
    return [f"{', '.join(names)} = model.run({json.dumps(list(outputs))}, inputs){one}"]


def _openvino(names: Sequence[str], outputs: Sequence[str]) -> list[str]:
    if len(outputs) == 1:
        return [f'{names[0]} = model(inputs)["{outputs[0]}"]']
    values = ", ".join(f'found["{output}"]' for output in outputs)
    return ["found = model(inputs)", f"{', '.join(names)} = {values}"]


_RUNTIMES = {  # format -> package, how a file is loaded, how it is run
    "onnx": (
        "onnxruntime",
        'model = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])',
        _onnx,
    ),
    "openvino": ("openvino", 'model = openvino.compile_model("{file}", "CPU")', _openvino),
}
_CALLED = {"last_hidden_state": "hidden", "start_logits": "start", "end_logits": "end"}


def snippets(entries: Sequence[Mapping[str, Any]], folder: Path, trained: Path) -> list[str]:
    """Lines of Markdown: a program for the first file of each format among `entries`, to be run in `folder`. `trained`
    is the directory that remembers what the model was trained on."""
    made: list[str] = []
    for kind, (package, load, run) in _RUNTIMES.items():
        first = next((e for e in entries if e["format"] == kind), None)
        reads = (first or {}).get("reads")
        if first is None or reads is None or "decoder_input_ids" in reads["inputs"]:
            continue  # what is generated takes more than a few lines
        names = [_CALLED.get(output, output) for output in reads["outputs"]]
        more, lines = _answers(reads, folder)
        code = [
            *more, "import numpy as np", f"import {package}", "from tokenizers import Tokenizer", "",
            *_tokenizer(reads, folder), load.format(file=first["path"]), "", *_texts(reads, folder, trained),
            *run(names, reads["outputs"]), *lines,
        ]  # fmt: skip
        made += ["```python", *code, "```", ""]
    if not made or not (folder / "tokenizer.json").is_file():
        return []
    return ["Run in this directory, with the runtime, `tokenizers` and `numpy` installed:", "", *made]


def _tokenizer(reads: Mapping[str, Any], folder: Path) -> list[str]:
    longest = _read(folder / "sentence_bert_config.json", dict).get("max_seq_length") or reads["max_length"]
    lines = [
        'tokenizer = Tokenizer.from_file("tokenizer.json")',
        f"tokenizer.enable_truncation(max_length={min(longest, reads['max_length'])})",
    ]
    if "attention_mask" not in reads["inputs"]:  # it would read padding as text
        return [*lines, "tokenizer.no_padding()"]
    padding = f"pad_id={reads['pad_id']}, pad_token={json.dumps(reads['pad_token'])}"
    return [*lines, f"tokenizer.enable_padding({padding})"]


def _texts(reads: Mapping[str, Any], folder: Path, trained: Path) -> list[str]:
    """Texts as the model was trained to read them, and what they are to it."""
    many = None if "attention_mask" in reads["inputs"] else 1
    pairs = _columns(trained)
    if "start_logits" in reads["outputs"]:
        lines = [f"pairs = {_shown(_QUESTIONS[:many])}", "texts = tokenizer.encode_batch(pairs)"]
    elif pairs == 2:
        lines = [f"texts = tokenizer.encode_batch({_shown(_PAIRS[:many])})"]
    else:
        lines = [f"texts = tokenizer.encode_batch({_shown(_TEXTS[:many])})"]
        if pairs == 0 and _head(folder) == "ForSequenceClassification":
            lines[0] += f"  # pairs: {_shown(_PAIRS[:1])}"
    arrays = [f'    "{n}": np.array([{_GIVEN[n]} for text in texts], dtype=np.int64),' for n in reads["inputs"]]
    return [*lines, "inputs = {", *arrays, "}"]


def _columns(trained: Path) -> int:
    """How many texts make up an example, 0 where nobody knows."""
    known = read_trained(trained)
    return len(known.text_column or (GLUE[known.task].columns if known.task in list(GLUE) else ()))


def _answers(reads: Mapping[str, Any], folder: Path) -> tuple[list[str], list[str]]:
    """More imports, and the lines that make an answer of the model's outputs."""
    if reads["outputs"][0] == "last_hidden_state":
        return [], _embeddings(reads, folder)
    if reads["outputs"][0] == "start_logits":
        return [], [*_SPAN, "print(answers)"]
    config, head = _read(folder / "config.json", dict), _head(folder)
    names = config.get("id2label") or {}
    if head not in ("ForSequenceClassification", "ForTokenClassification"):
        return [], ["print(logits.shape)"]
    if config.get("problem_type") == "regression" or len(names) == 1:
        return [], ["answers = logits[..., 0].tolist()", "print(answers)"]
    more = ["import json", ""] if names else []
    load = ['labels = json.load(open("config.json", encoding="utf-8"))["id2label"]'] if names else []
    if head == "ForTokenClassification":
        lines = [line.replace("{label}", "labels[str(i)]" if names else "int(i)") for line in _OF_TOKENS]
    elif config.get("problem_type") == "multi_label_classification":
        label = "labels[str(i)]" if names else "int(i)"
        lines = [f"answers = [[{label} for i in np.flatnonzero(row > 0)] for row in logits]"]
    else:
        label = "labels[str(row.argmax())]" if names else "int(row.argmax())"
        lines = [f"answers = [{label} for row in logits]"]
    return more, [*load, *lines, "print(answers)"]


def _embeddings(reads: Mapping[str, Any], folder: Path) -> list[str]:
    """As sentence-transformers makes them of the states, where it says how; else their mean, of length 1."""
    modules = (folder / MODULES).is_file()
    vectors = find_vectors(folder, folder.name) if modules else Vectors()
    if vectors is None or len(vectors.modes) > 1 or vectors.modes[0] not in _POOLED or vectors.projections:
        return ["print(hidden.shape)"]
    mode = vectors.modes[0]
    masked = "attention_mask" in reads["inputs"]
    lines = list(_POOLED[mode]) if masked or mode == "cls" else ["embeddings = hidden.mean(1)"]
    if vectors.normalized:
        lines.append("embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)")
    return [*lines, "print(embeddings @ embeddings.T)"]


def _head(folder: Path) -> str:
    """The end of the name of the model's class, from "For" on."""
    name = str((_read(folder / "config.json", dict).get("architectures") or [""])[0])
    return "For" + name.partition("For")[2]


def _shown(values: Sequence[Any]) -> str:
    """A list as Python code."""
    texts = [f"({', '.join(map(json.dumps, v))})" if isinstance(v, tuple) else json.dumps(v) for v in values]
    return f"[{', '.join(texts)}]"


def _read(file: Path, kind: type) -> Any:
    """What a JSON file of that kind holds; nothing of any other, or where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()
