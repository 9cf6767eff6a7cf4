"""Hub ids, through the real client and a server on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from factcli import inspect

from . import tiny
from .conftest import Run
from .hub import HubServer

MODEL = "someone/tiny-bert"
FAILURES = {
    ("someone/unknown", "stranger"): "not on the Hub, or is private",
    ("someone/private", "stranger"): "HF_TOKEN",
    ("someone/private", None): "HF_TOKEN",
    ("someone/private", "expired"): "HF_TOKEN",
    ("someone/gated", "stranger"): "accept its terms",
    ("someone/gated", None): "accept its terms",
    ("someone/broken", "stranger"): "HTTP 500",
    (f"{MODEL}@nowhere", "stranger"): "no revision 'nowhere'",
    ("not a valid id!", "stranger"): "neither a directory here nor a Hub id",
}
DRY = ("someone/another", None)
EACH = """
import json, os, runpy, sys

def factcli(*args):
    sys.argv = ["factcli", *args]
    runpy.run_module("factcli", run_name="__main__", alter_sys=True)

try:
    factcli("convert", "../none", "--keep", "0.5")  # for its imports, which are then there for every process below
except SystemExit:
    pass
for args, token, out in json.load(sys.stdin):
    if (process := os.fork()) == 0:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{out}.{name}", os.O_WRONLY | os.O_CREAT), number)
        os.environ |= {"HF_TOKEN": token} if token else {}
        factcli(*args, "-o", out)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


class Done(NamedTuple):
    """A process that ended."""

    code: int
    stdout: str
    stderr: str
    out: Path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """Repositories of `someone`: tiny-bert (tag v1, and a later main), another, private, gated, and broken."""
    tmp_path = tmp_path_factory.mktemp("hub")
    repo = tmp_path / "repo"
    tiny.make("bert").save_pretrained(repo)
    (repo / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# A model\n")
    with HubServer(tmp_path / "hub") as server:
        server.add_repo(MODEL, repo, tags=("v1",))
        (repo / "later.txt").write_text("later")
        server.add_repo(MODEL, repo)
        server.add_repo("someone/another", repo)
        server.add_repo("someone/private", repo, private=True)
        server.add_repo("someone/gated", repo, gated=True)
        server.add_repo("someone/broken", repo)
        server.faults.add("*", repo="someone/broken", status=500, times=None)
        server.users.tokens["expired"] = "hf_secretsecretsecretsecret"  # one that the server does not know
        yield server
    assert server.errors == []


@pytest.fixture
def env(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """For a process with a cache of its own."""
    return hub.env | {"HF_HOME": str(tmp_path / "home")}


def test_convert_from_the_hub(hub: HubServer, env: dict[str, str], tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", f"{MODEL}@v1", "--keep", "0.5", "-o", tmp_path / "out", **env)
    assert done.returncode == 0, done.stderr
    made = inspect(tmp_path / "out")["made_with"]
    assert (made["model"], made["revision"]) == (MODEL, hub.repo(MODEL).tags["v1"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"base_model: {MODEL}" in card
    assert "license: mit" in card
    again = factcli("convert", MODEL, "--keep", "0.5", "--dry-run", "--json", **{**env, "HF_HUB_OFFLINE": "1"})
    assert again.returncode == 1  # main was never fetched
    assert "HF_HUB_OFFLINE" in again.stderr


@pytest.fixture(scope="module")
def done(
    hub: HubServer, world: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str | None], Done]:
    """Every failure, and a dry run, each in a process of its own, forked from one that has imported."""
    folder = tmp_path_factory.mktemp("done")
    asked = {case: ["convert", case[0], "--keep", "0.5"] for case in FAILURES}
    asked[DRY] = ["convert", DRY[0], "--keep", "0.5", "--dry-run", "--json"]
    outs = [str(folder / f"out{number}") for number in range(len(asked))]
    tokens = [hub.users.tokens.get(label or "") for _, label in asked]
    cases = list(zip(asked.values(), tokens, outs, strict=True))
    ran = subprocess.run(
        [sys.executable, "-c", EACH], env=world | hub.env, input=json.dumps(cases), capture_output=True, text=True,
        timeout=300, cwd=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = [[Path(f"{out}.{name}").read_text() for name in ("stdout", "stderr")] for out in outs]
    codes = map(int, ran.stdout.split())
    return {
        case: Done(code, *texts, Path(out)) for case, code, texts, out in zip(asked, codes, said, outs, strict=True)
    }


def test_dry_run_fetches_the_configuration_alone(hub: HubServer, done: dict[tuple[str, str | None], Done]) -> None:
    dry = done[DRY]
    assert dry.code == 0, dry.stderr
    assert json.loads(dry.stdout)["parameters"]["before"] > 0
    assert {r.file for r in hub.requests if r.step == "get" and r.repo == DRY[0]} == {"config.json"}


@pytest.mark.parametrize(("model", "token"), list(FAILURES))
def test_failures_are_one_sentence_without_the_token(
    model: str, token: str | None, hub: HubServer, done: dict[tuple[str, str | None], Done]
) -> None:
    failed = done[model, token]
    assert failed.code == 1
    assert FAILURES[model, token] in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not any(text in failed.stderr + failed.stdout for text in hub.users.tokens.values())
    assert not failed.out.exists()


def test_no_network(tmp_path: Path, factcli: Run) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = factcli("convert", "bert-base-uncased", "--keep", "0.5", "-o", tmp_path / "out", **env)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
