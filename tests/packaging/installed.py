"""The wheel as somebody has it who installed it: `python -m tests.packaging.installed dist/*.whl`.

It goes into an environment of its own, beside the packages of this one; there the command answers, converts a tiny
model, and type checkers read its types, in which they must find the one mistake that consumer.py makes.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from ..tiny import make

CONSUMER = Path(__file__).with_name("consumer.py")
WRONG = next(n for n, line in enumerate(CONSUMER.read_text("utf-8").splitlines(), 1) if line.startswith("wrong ="))
BIN = Path(sys.executable).parent


def said(*words: str | Path, cwd: Path, code: int | None = 0) -> str:
    """What a command says, which must end with that code."""
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, env=os.environ | {
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})  # fmt: skip
    assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def installed(wheel: Path, folder: Path) -> Path:
    """The Python of an environment in `folder` that has the wheel, and factcli from nowhere else: other packages are
    those of this environment, whose path files, and with them an editable factcli, are not followed."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env"), "platbase": str(folder / "env")}))
    (site / "packages.pth").write_text("\n".join(p for p in sys.path if Path(p).name == "site-packages") + "\n")
    said(BIN / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=folder)
    python = folder / "env" / "bin" / "python"
    found = Path(said(python, "-c", "import factcli; print(factcli.__file__)", cwd=folder).strip())
    assert found.parent == site / "factcli", found
    assert (found.parent / "py.typed").is_file()
    return python


def check_command(python: Path, folder: Path) -> None:
    assert "Replace a model" in said(python, "-m", "factcli", "--help", cwd=folder)
    make("bert").save_pretrained(folder / "model")
    words = ("convert", "model", "--keep", "0.5", "-o", "small", "--json")
    result = json.loads(said(python, "-m", "factcli", *words, cwd=folder))
    assert result["output"] == "small"
    assert "FactorizedBertModel" in said(python, "-m", "factcli", "inspect", "small", cwd=folder)


def check_types(python: Path, folder: Path) -> None:
    """mypy, and pyright where it runs: it fetches itself from npm. Without torch's own types, which take minutes."""
    next(folder.glob("env/lib/python*/site-packages/packages.pth")).unlink()
    shutil.copyfile(CONSUMER, folder / CONSUMER.name)  # away from the repository, whose factcli stands beside it
    mypy = said(BIN / "mypy", "--strict", "--python-executable", python, "--cache-dir", folder / "mypy",
                "--config-file", os.devnull, CONSUMER.name, cwd=folder, code=1)  # fmt: skip
    lines = [line for line in mypy.splitlines() if ": error:" in line]
    assert lines, mypy
    assert all(f"consumer.py:{WRONG}: error:" in line for line in lines), mypy
    if not said(BIN / "pyright", "--version", cwd=folder, code=None):
        print("pyright does not run here: its types are checked by mypy alone.")
        return
    found = json.loads(said(BIN / "pyright", "--pythonpath", python, "--outputjson", CONSUMER.name, cwd=folder, code=1))
    wrong = {d["range"]["start"]["line"] + 1 for d in found["generalDiagnostics"] if d["severity"] == "error"}
    assert wrong == {WRONG}, found["generalDiagnostics"]


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        python = installed(wheel, Path(name))
        check_command(python, Path(name))
        check_types(python, Path(name))
    print(f"{wheel.name}: installed, run and type-checked.")


if __name__ == "__main__":
    main()
