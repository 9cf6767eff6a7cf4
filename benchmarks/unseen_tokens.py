"""How much of the frequencies of tokens to give to those that the texts do not have: --unseen-tokens.

    python benchmarks/unseen_tokens.py --data-dir GLUE [--shares 0.3 0.1 0.03] [--work DIR] [--results recipes/results]

all-MiniLM-L6-v2 fine-tuned on reviews, MRPC and SST-2 as for whole_model.py (a model that stands in WORK/TASK/dense is
taken as it is), factorized with kfac, without training. Its token embedding alone, to 0.25 and 0.10: calibrated on the
task's own texts, and on texts of another kind (reviews and SST-2 on news, MRPC on reviews). All its matrices, to 0.25
and 0.15, on its own texts. Points of accuracy lost.

Scores go into RESULTS/unseen-tokens.json as soon as they are there; RESULTS/unseen-tokens.md is written anew.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import runs
from criteria_accuracy import Bench
from whole_model import ALONE, KFAC, WHOLE, training_text

import factcli
from factcli.files.atomic import write_text

OTHER = {"reviews": "mrpc", "sst2": "mrpc", "mrpc": "reviews"}
COLUMNS = (
    ("own", "embedding", 0.25), ("own", "embedding", 0.10), ("own", "all", 0.25), ("own", "all", 0.15),
    ("other", "embedding", 0.25), ("other", "embedding", 0.10),
)  # fmt: skip
Entry = dict[str, Any]


def score(bench: Bench, other: Bench | None, key: Entry, data_dir: str) -> float:
    """Accuracy of one conversion; calibrated on the texts of `other` where that is given."""
    data = {k: v for k, v in bench.data.items() if k != "train"}
    options: Entry = {"calibration": bench.calibration}
    options |= {"data_dir": data_dir} if bench.calibration == bench.task else {}
    if other is not None:
        options = {"calibration": str(training_text(other, data_dir))}
    folder, what = bench.work / "converted", ALONE if key["targets"] == "embedding" else WHOLE
    factcli.convert(
        str(bench.dense()), folder, overwrite=True, keep=key["keep"], unseen_tokens=key["share"], **KFAC, **what,
        **options,
    )  # fmt: skip
    return round(100 * factcli.evaluate(str(folder), **data)[0]["metrics"]["accuracy"], 3)


def table(entries: list[Entry], shares: list[float]) -> list[str]:
    """A row a share, a column a task and keep ratio, on its own texts and on others."""
    dense = {e["task"]: e["accuracy"] for e in entries if e["share"] is None}
    names = [f"{texts} texts, {targets} at {keep}" for texts, targets, keep in COLUMNS]
    lines = [f"| share | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for share in shares:
        cells = []
        for column in COLUMNS:
            found = [e for e in entries if (e["share"], e["texts"], e["targets"], e["keep"]) == (share, *column)]
            lost = {e["task"]: dense[e["task"]] - e["accuracy"] for e in found}
            each = ", ".join(f"{lost[t]:.2f}" for t in OTHER if t in lost)
            cells.append(f"**{mean(lost.values()):.2f}** ({each})" if lost else "")
        lines.append(f"| {share} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.3, 0.1, 0.03])
    parser.add_argument("--work", type=Path, default=Path("build/whole-model"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    file = given.results / "unseen-tokens.json"
    benches = {t: Bench(t, given.work, given.results, given.data_dir, "float32") for t in OTHER}

    def keep_entry(key: Entry, accuracy: float) -> None:
        entry = key | {"accuracy": accuracy}
        runs.say(json.dumps(entry))
        write_text(file, json.dumps([*runs.read(file), entry | runs.record(None)], indent=1) + "\n")

    for task, bench in benches.items():
        wanted: list[Entry] = [{"task": task, "share": None, "texts": None, "targets": None, "keep": None}]
        wanted += [
            {"task": task, "share": share, "texts": texts, "targets": targets, "keep": keep}
            for texts, targets, keep in COLUMNS for share in given.shares
        ]  # fmt: skip
        for key in wanted:
            if any(all(e[k] == v for k, v in key.items()) for e in runs.read(file)):
                continue
            if key["share"] is None:
                data = {k: v for k, v in bench.data.items() if k != "train"}
                keep_entry(key, round(100 * factcli.evaluate(str(bench.dense()), **data)[0]["metrics"]["accuracy"], 3))
                continue
            other = benches[OTHER[task]] if key["texts"] == "other" else None
            keep_entry(key, score(bench, other, key, given.data_dir))
    lines = table(runs.read(file), given.shares)
    title = ["# Frequencies of tokens that the texts do not have", "",
             "Points of accuracy lost by factorizing all-MiniLM-L6-v2: the mean, and reviews, SST-2 and MRPC, by the",
             "share of all occurrences that is spread over all tokens. Made by",
             "`benchmarks/unseen_tokens.py`.", ""]  # fmt: skip
    write_text(given.results / "unseen-tokens.md", "\n".join([*title, *lines]) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
