"""Hub ids, through the real client and a server on this machine."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from factcli import inspect

from . import tiny
from .conftest import MODELS, PATIENCE, ROOT, at
from .hub import HubServer
from .processes import Python

MODEL = "someone/tiny-bert"
OFFLINE = """
from huggingface_hub import constants
from factcli.cli import main

constants.HF_HUB_OFFLINE = True  # as the variable does at import
main()
"""
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


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, address: tuple[int, Path]) -> Iterator[HubServer]:
    """Repositories of `someone`: tiny-bert (tag v1, and a later main), another, private, gated, and broken."""
    tmp_path = tmp_path_factory.mktemp("hub")
    repo = tmp_path / "repo"
    tiny.make("bert").save_pretrained(repo)
    (repo / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# A model\n")
    with at(address, tmp_path / "hub") as server:
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


def test_convert_from_the_hub(hub: HubServer, online: Python, tmp_path: Path) -> None:
    done = online.run("-m", "factcli", "convert", f"{MODEL}@v1", "--keep", "0.5", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    made = inspect(tmp_path / "out")["made_with"]
    assert (made["model"], made["revision"]) == (MODEL, hub.repo(MODEL).tags["v1"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"base_model: {MODEL}" in card
    assert "license: mit" in card
    again = online.run("-c", OFFLINE, "convert", MODEL, "--keep", "0.5", "--dry-run", "--json")
    assert again.returncode == 1  # main was never fetched
    assert "HF_HUB_OFFLINE" in again.stderr


def test_dry_run_fetches_the_configuration_alone(hub: HubServer, online: Python) -> None:
    dry = online.run("-m", "factcli", "convert", "someone/another", "--keep", "0.5", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["parameters"]["before"] > 0
    assert {r.file for r in hub.requests if r.step == "get" and r.repo == "someone/another"} == {"config.json"}


@pytest.mark.parametrize(("model", "token"), list(FAILURES))
def test_failures_are_one_sentence_without_the_token(
    model: str, token: str | None, hub: HubServer, online: Python, tmp_path: Path
) -> None:
    env = {"HF_TOKEN": hub.users.tokens[token]} if token else {}
    failed = online.run("-m", "factcli", "convert", model, "--keep", "0.5", "-o", tmp_path / "out", **env)
    assert failed.returncode == 1
    assert FAILURES[model, token] in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not any(text in failed.stderr + failed.stdout for text in hub.users.tokens.values())
    assert not (tmp_path / "out").exists()


def test_no_network(tmp_path: Path, world: dict[str, str]) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    with Python(sys.executable, world | env, ROOT, (*MODELS, PATIENCE)) as python:
        done = python.run("-m", "factcli", "convert", "bert-base-uncased", "--keep", "0.5", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
