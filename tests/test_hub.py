"""Hub ids, through the real client and a server on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import tiny
from .conftest import Run
from .hub_server import COMMIT, Handler, HubServer

TOKEN = "hf_secretsecretsecretsecret"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    tiny.make("bert").save_pretrained(tmp_path / "repo")
    (tmp_path / "repo" / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# A model\n")
    with HubServer() as server:
        Handler.repos["someone/tiny-bert"] = tmp_path / "repo"
        Handler.refused["someone/private"] = (401, "RepoNotFound")
        Handler.refused["someone/gated"] = (403, "GatedRepo")
        Handler.refused["someone/broken"] = (500, "")
        yield {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}


def test_convert_from_the_hub(hub: dict[str, str], tmp_path: Path, factcli: Run) -> None:
    done = factcli("convert", "someone/tiny-bert@v1", "--keep", "0.5", "-o", tmp_path / "out", **hub)
    assert done.returncode == 0, done.stderr
    done = factcli("inspect", tmp_path / "out", "--json", **hub)
    made = json.loads(done.stdout)["made_with"]
    assert (made["model"], made["revision"]) == ("someone/tiny-bert", COMMIT)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: someone/tiny-bert" in card
    assert "license: mit" in card
    again = factcli(
        "convert", "someone/tiny-bert", "--keep", "0.5", "--dry-run", "--json", **{**hub, "HF_HUB_OFFLINE": "1"}
    )
    assert again.returncode == 1  # main was never fetched
    assert "HF_HUB_OFFLINE" in again.stderr


def test_dry_run_fetches_the_configuration_alone(hub: dict[str, str], tmp_path: Path, factcli: Run) -> None:
    (tmp_path / "repo" / "model.safetensors").unlink()
    done = factcli("convert", "someone/tiny-bert", "--keep", "0.5", "--dry-run", "--json", **hub)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"]["before"] > 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("someone/unknown", "not on the Hub, or is private"),
        ("someone/private", "HF_TOKEN"),
        ("someone/gated", "accept its terms"),
        ("someone/broken", "HTTP 500"),
        ("someone/tiny-bert@nowhere", "no revision 'nowhere'"),
        ("not a valid id!", "neither a directory here nor a Hub id"),
    ],
)
def test_failures_are_one_sentence_without_the_token(
    model: str, said: str, hub: dict[str, str], tmp_path: Path, factcli: Run
) -> None:
    done = factcli("convert", model, "--keep", "0.5", "-o", tmp_path / "out", HF_TOKEN=TOKEN, **hub)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()


def test_no_network(tmp_path: Path, factcli: Run) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = factcli("convert", "bert-base-uncased", "--keep", "0.5", "-o", tmp_path / "out", **env)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
