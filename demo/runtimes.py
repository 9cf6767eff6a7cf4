"""The end of make demo: the factorized model as an int8 file for OpenVINO, beside the dense one and its int8 file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

FILE = "openvino/openvino_model_qint8_quantized.xml"
EXPORT = "--format openvino --precision int8 --calibration reviews.csv"


def export(model: Path, work: Path, said: str, *more: str) -> None:
    print(f"$ factcli export {said} {EXPORT} {' '.join(Path(word).name for word in more)}".rstrip(), flush=True)
    words = EXPORT.replace("reviews.csv", str(work / "reviews.csv")).split()
    command = [sys.executable, "-m", "factcli", "export", str(model), *words, *more, "-q"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def compare(dense: Path, small: Path, plain: Path, work: Path, python: Path) -> None:
    """A row each: megabytes, milliseconds and the similarity of embeddings to the dense model's."""
    export(dense, work, "all-MiniLM-L6-v2", "-o", str(work / "dense-int8"))
    export(small, work, small.name)
    rows = {
        "dense, PyTorch": ("torch", dense, None),
        "dense int8, OpenVINO": ("openvino", work / "dense-int8", FILE),
        "plain SVD, PyTorch": ("torch", plain, None),
        "factorized, PyTorch": ("torch", small.resolve(), None),
        "factorized int8, OpenVINO": ("openvino", small.resolve(), FILE),
    }
    embed = Path(__file__).with_name("embed.py").resolve()
    expected = None
    print(f"\n{'':28}{'MB':>8}{'ms for 8 x 128 tokens':>24}{'cosine to dense':>18}")
    for name, (kind, folder, file) in rows.items():
        out = work / "embeddings.npy"
        words = [kind, str(folder), *([str(folder / file)] if file else []), str(out)]
        done = subprocess.run([str(python), str(embed), *words], check=True, stdout=subprocess.PIPE, cwd=work)
        found = np.load(out)
        expected = found if expected is None else expected
        paths = [folder / file, (folder / file).with_suffix(".bin")] if file else list(folder.glob("*.safetensors"))
        size = sum(path.stat().st_size for path in paths) / 1e6
        cosine = float((found * expected).sum(1).mean())
        print(f"{name:28}{size:>8.1f}{json.loads(done.stdout)['ms']:>24.1f}{cosine:>18.3f}", flush=True)
