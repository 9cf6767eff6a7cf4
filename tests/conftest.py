"""Fixtures: an offline world of its own for every test, and an interpreter that has no factcli."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
os.environ.pop("HF_TOKEN", None)

import torch  # after the environment: offline mode and threads are read at import

from demo import bare

from .hub import HubServer
from .hub_client import HubClient
from .processes import Python

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = (
    "factcli.training.finetune", "factcli.diagnosis", "factcli.benchmarking.bench", "factcli.hub.publish",
    "sklearn.metrics", "datasets",
)  # fmt: skip
MODELS = ("transformers.models.bert.modeling_bert", "transformers.models.auto.tokenization_auto")
LIBRARIES = ("torch", "transformers.modeling_utils", *MODELS)


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the garbage collector, which Trainer calls, need not look at it again."""
    gc.freeze()


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
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable of an interpreter that has torch and transformers, and cannot import factcli."""
    return bare.make(tmp_path_factory.mktemp("stranger") / "env")


@pytest.fixture(scope="session")
def stranger(bare_python: Path, world: dict[str, str]) -> Iterator[Run]:
    """Runs a Python script in that interpreter."""
    with Python(bare_python, world, bare_python.parent, LIBRARIES) as python:
        probe = python.run("-c", "import importlib.util as u, transformers; assert u.find_spec('factcli') is None")
        assert probe.returncode == 0, probe.stderr
        yield python.run


@pytest.fixture(scope="session")
def python(world: dict[str, str]) -> Iterator[Python]:
    """An interpreter that has factcli."""
    with Python(sys.executable, world, ROOT, (*COMMANDS, *MODELS)) as made:
        yield made


@pytest.fixture(scope="session")
def factcli(python: Python) -> Run:
    """Runs the command as a user would, in its own process."""
    return partial(python.run, "-m", "factcli")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub of the module's own on 127.0.0.1, which must have met nothing that it does not know."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server
        assert server.errors == []


@pytest.fixture(scope="module")
def online(hub: HubServer, world: dict[str, str]) -> Iterator[Python]:
    """An interpreter that has factcli and finds that Hub; without a token."""
    with Python(sys.executable, world | hub.env, ROOT, (*COMMANDS, *MODELS)) as made:
        yield made


@pytest.fixture(scope="module")
def owner(hub: HubServer, online: Python) -> Iterator[HubClient]:
    """factcli in a process of its own that is logged in there as `owner`."""
    with HubClient(online, hub.users.tokens["owner"]) as client:
        yield client
