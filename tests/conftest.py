"""Fixtures: an offline world of its own for every test, and an interpreter that has no factcli."""

import gc
import os
import shutil
import socket
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

from . import said
from .hub import HubServer
from .hub_client import HubClient
from .processes import Python

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
TRANSFORMERS_4 = ROOT / ".cache" / "transformers-4"
Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = (
    "factcli.commands.finetune", "factcli.commands.diagnose", "factcli.commands.bench", "factcli.publishing.publish",
    "sklearn.metrics", "datasets",
)  # fmt: skip
MODELS = ("transformers.models.bert.modeling_bert", "transformers.models.auto.tokenization_auto")
PATIENCE = "tests.hub_patience"
LIBRARIES = ("torch", "transformers.modeling_utils", *MODELS)


said.listen()


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        said.forget()


def pytest_sessionfinish(session: pytest.Session) -> None:
    said.keep(os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture(autouse=True)
def _frozen() -> None:
    """What was imported stays until the end: the garbage collector, which Trainer calls, need not look at it again."""
    gc.collect()
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
def stranger_4(bare_python: Path, world: dict[str, str]) -> Iterator[Run]:
    """The same with the last transformers 4, where `make test` installed it."""
    if not TRANSFORMERS_4.is_dir():
        pytest.skip("make test installs the last transformers 4")
    old = world | {"PYTHONPATH": str(TRANSFORMERS_4)}
    with Python(bare_python, old, bare_python.parent, LIBRARIES) as python:
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


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A port for the Hubs of all modules, one after the other, and what their clients have as HF_HOME."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1], tmp_path_factory.mktemp("home of the hub")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, address: tuple[int, Path]) -> Iterator[HubServer]:
    """A Hub of the module's own on 127.0.0.1, which must have met nothing that it does not know."""
    with at(address, tmp_path_factory.mktemp("hub")) as server:
        yield server
        assert server.errors == []


def at(address: tuple[int, Path], folder: Path) -> HubServer:
    """A Hub for `online`, of which nothing is known yet."""
    shutil.rmtree(address[1], ignore_errors=True)
    return HubServer(folder, *address)


@pytest.fixture(scope="session")
def client(address: tuple[int, Path], world: dict[str, str]) -> Iterator[Python]:
    """What `online` is, for all modules: it imports once."""
    port, home = address
    with HubServer(home, port, home) as server:
        env = world | server.env
    with Python(sys.executable, env, ROOT, (*COMMANDS, *MODELS, PATIENCE)) as made:
        yield made


@pytest.fixture(scope="module")
def online(hub: HubServer, client: Python) -> Python:
    """An interpreter that has factcli and finds that Hub; without a token, and without patience."""
    return client


@pytest.fixture(scope="module")
def owner(hub: HubServer, online: Python) -> Iterator[HubClient]:
    """factcli in a process of its own that is logged in there as `owner`."""
    with HubClient(online, hub.users.tokens["owner"]) as client:
        yield client
