"""Fixtures: an offline world of its own for every test, and an interpreter that has no factcli."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
os.environ.pop("HF_TOKEN", None)

import torch  # after the environment: offline mode and threads are read at import

from demo import bare

from .hub import HubServer
from .hub_client import HubClient

torch.set_num_threads(1)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads what an earlier version left in the user's cache."""
    os.environ["FACTCLI_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, cache: None) -> dict[str, str]:
    """An environment for processes: private caches, no network, one thread."""
    home = tmp_path_factory.mktemp("home")
    keep = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and k != "PYTHONPATH"}
    return keep | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, world: dict[str, str]) -> Run:
    """Runs a Python script in an interpreter that has torch and transformers, and cannot import factcli."""
    folder = tmp_path_factory.mktemp("stranger") / "env"
    python = bare.make(folder)

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *args], cwd=folder, env=world | env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=600,
        )  # fmt: skip

    probe = run("-c", "import torch, transformers, importlib.util as u; assert u.find_spec('factcli') is None")
    assert probe.returncode == 0, probe.stderr
    return run


@pytest.fixture(scope="session")
def factcli(world: dict[str, str]) -> Run:
    """Runs the command as a user would, in its own process."""

    def run(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "factcli", *map(str, args)], env=world | env, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub of the module's own on 127.0.0.1, which must have met nothing that it does not know."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server
        assert server.errors == []


@pytest.fixture(scope="module")
def owner(hub: HubServer, world: dict[str, str]) -> Iterator[HubClient]:
    """factcli in a process of its own that is logged in there as `owner`."""
    with HubClient(world | hub.env_as("owner")) as client:
        yield client
