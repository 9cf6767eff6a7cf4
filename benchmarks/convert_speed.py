"""Time and memory of a whole `factcli convert` on a BERT-base-shaped checkpoint with random weights.

    python benchmarks/convert_speed.py [--repeats 3]

Each repeat runs, one after the other, a bare loop of float32 `torch.linalg.svd` over the same 72 matrices (the loop
alone is timed, not its imports) and the command for each structure (the whole process). Prints the medians and their
ratio, with the bars: at most 1.25 times the bare loop, and a peak of at most 2.0 times the checkpoint plus 700 MB.
Exits with 1 where a bar is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import sys, time, torch
from safetensors.torch import load_file
weights = [w for n, w in load_file(sys.argv[1]).items() if ".layer." in n and w.ndim == 2]
assert len(weights) == 72
started = time.perf_counter()
for w in weights:
    torch.linalg.svd(w, full_matrices=False)
print(time.perf_counter() - started)
"""
MAKE = """
import sys, torch, transformers
torch.manual_seed(0)
transformers.BertModel(transformers.BertConfig()).save_pretrained(sys.argv[1])
"""


def run(*command: str) -> tuple[float, float, str]:
    """Seconds and peak memory (bytes) of a whole process, and what it printed."""
    before = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise SystemExit(f"{' '.join(command[:5])} failed")
    return time.perf_counter() - before, usage.ru_maxrss * 1024, printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {"bare": [], "low-rank": [], "monarch": []}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / "bert-base")
        run(sys.executable, "-c", MAKE, source)
        weights = Path(source) / "model.safetensors"
        size = weights.stat().st_size
        for _ in range(repeats):
            seconds["bare"].append(float(run(sys.executable, "-c", BARE, str(weights))[2]))
            for method in ("low-rank", "monarch"):
                command = ["convert", source, "--method", method, "--params", "44M", "-o", f"{folder}/out"]
                took, peak, _ = run(sys.executable, "-m", "factcli", *command, "--overwrite", "--json")
                seconds[method].append(took)
                peaks[method] = max(peak, peaks.get(method, 0))
    results, missed = {}, False
    for method, peak in peaks.items():
        ratio = statistics.median(t / bare for t, bare in zip(seconds[method], seconds["bare"], strict=True))
        bound = 2.0 * size + 700e6
        missed |= ratio > 1.25 or peak > bound
        results[method] = {
            "seconds": round(statistics.median(seconds[method]), 2),
            "bare_seconds": round(statistics.median(seconds["bare"]), 2),
            "ratio": round(ratio, 3),
            "ratio_bar": 1.25,
            "peak_bytes": int(peak),
            "peak_bar": int(bound),
        }
    print(json.dumps(results, indent=2))
    sys.exit(missed)


if __name__ == "__main__":
    main()
