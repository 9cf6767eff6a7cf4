"""What a sweep takes beyond its runs, and how much faster two processes are than one.

    python benchmarks/sweep_overhead.py [--runs 24] [--steps 300] [--engines none local] [--work DIR]

A tiny model with random weights is trained on generated data, RUNS times, CPU-bound, one thread a run. For each engine
(processes of the standard library, a local Ray) the sweep is timed whole, start and end included, with one worker and
with two. The overhead is the time that workers did not spend in runs, over the time that they did. Prints the bars and
exits with 1 where one is missed: an overhead below 15 %, two workers at least 1.6 times as fast as one. Time it on a
machine that does nothing else, with two cores or more.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [f"w{i}" for i in range(500)]
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def make(place: Path) -> None:
    """A model of two narrow layers, and a task whose label is the parity of the first word."""
    words = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(place / "model")
    config = BertConfig(
        vocab_size=len(words), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512
    )
    BertModel(config).save_pretrained(place / "model")
    draw = random.Random(0)
    (place / "glue" / "sst2").mkdir(parents=True)
    for split, count in (("train", 2000), ("validation", 200)):
        rows = [draw.choices(range(len(WORDS)), k=24) for _ in range(count)]
        texts = [" ".join(WORDS[i] for i in row) for row in rows]
        labels = pa.array([row[0] % 2 for row in rows], pa.int64())
        pq.write_table(pa.table({"sentence": texts, "label": labels}), place / "glue" / "sst2" / f"{split}.parquet")


def timed(place: Path, engine: str, workers: int) -> tuple[float, float]:
    """Seconds of a sweep, and those that its runs took together."""
    output = place / f"out-{engine}-{workers}"
    command = [sys.executable, "-m", "factcli", "sweep", "sweep.yaml", "-o", str(output), "--ray", engine]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--workers", str(workers), "--json"], cwd=place, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return seconds, sum(run["result"]["seconds"] for run in json.loads(done.stdout)["runs"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300, help="of a run: enough that it takes some ten seconds")
    parser.add_argument("--engines", nargs="+", choices=("none", "local"), default=["none", "local"])
    parser.add_argument("--work", type=Path, help="default: a directory that goes again")
    given = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        place = given.work or Path(folder)
        make(place)
        options = {"model": "model", "data_dir": "glue", "task": "sst2", "device": "cpu", "keep": 0.25}
        options |= {"method": "low-rank", "schedule": "direct", "max_steps": given.steps}
        sweep = {"options": options, "grid": {"seed": list(range(given.runs))}}
        (place / "sweep.yaml").write_text(yaml.safe_dump(sweep))
        for engine in given.engines:
            one, _ = timed(place, engine, 1)
            two, inside = timed(place, engine, 2)
            overhead, faster = 2 * two / inside - 1, one / two
            print(f"{engine}: one worker {one:.1f} s, two {two:.1f} s; a run {inside / given.runs:.1f} s", flush=True)
            for text, good in (
                (f"{engine}: overhead {100 * overhead:.1f} %, below 15 %", overhead < 0.15),
                (f"{engine}: two workers {faster:.2f} times as fast as one, at least 1.6", faster >= 1.6),
            ):
                met &= good
                print("met   " if good else "MISSED", text, flush=True)
    sys.exit(not met)


if __name__ == "__main__":
    main()
