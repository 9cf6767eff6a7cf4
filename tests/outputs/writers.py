"""Who writes a little model: this process, or another one, which is killed or waits."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factcli.files.outputs import Output

from ..conftest import ROOT


def write(
    output: Path, text: str = "new", overwrite: bool = False, meanwhile: Callable[[], Any] = lambda: None
) -> None:
    """A whole little model as `output`."""
    with Output(output, overwrite).new() as work:
        (work / "config.json").write_text(json.dumps({"model_type": "bert", "text": text}))
        meanwhile()


def read(output: Path) -> str:
    text: str = json.loads((output / "config.json").read_text())["text"]
    return text


def start(script: str, *args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=ROOT,
    )  # fmt: skip


WRITES = """
import json, os, signal, sys
from factcli.files import atomic as files
from factcli.files.outputs import Output

def kill(): os.kill(os.getpid(), signal.SIGKILL)

MOMENT = sys.argv[2]
rename, rmtree = os.rename, files.shutil.rmtree
renames = []
def counted(a, b, **rest):
    rename(a, b, **rest)
    renames.append(b)
    if MOMENT == f"rename {len(renames)}": kill()
def removing(path, **rest):
    if MOMENT == "removing": kill()
    rmtree(path, **rest)
os.rename, files.shutil.rmtree = counted, removing
if MOMENT.startswith("rename"):
    files._exchange = lambda a, b: False
with Output(sys.argv[1], True).new() as work:
    (work / "config.json").write_text(json.dumps({"model_type": "bert", "text": "new"}))
    if MOMENT == "writing": kill()
    if MOMENT == "waiting": print("at work", flush=True); input()
"""
