"""A cluster that takes in whoever shows its token, as Ray's own command starts one."""

import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..said import hear
from .helpers import COMMON, make_place, start, write_sweep

pytest.importorskip("ray")
RAY = Path(sysconfig.get_path("scripts")) / "ray"


@pytest.fixture
def home(tmp_path: Path, world: dict[str, str]) -> dict[str, str]:
    """An environment with a home of its own, in which a token lies."""
    env = {k: v for k, v in world.items() if not k.startswith("RAY_")}
    env |= {"HOME": str(tmp_path / "home"), "RAY_USAGE_STATS_ENABLED": "0"}
    (tmp_path / "home").mkdir()
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    return env


@pytest.fixture
def address(home: dict[str, str]) -> Iterator[str]:
    """A head node: with a token in the home it asks for it, without being told to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [RAY, "start", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--block"]
    memory = f"--object-store-memory={100 * 2**20}"
    head = subprocess.Popen(
        [*command, memory], env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 60
        while True:
            assert head.poll() is None
            assert time.monotonic() < until
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)


def test_the_token_is_shown(tmp_path: Path, home: dict[str, str], address: str) -> None:
    place = make_place(tmp_path / "place")
    one = COMMON | {"task": "sst2", "model": "bert", "schedule": "direct", "method": "low-rank", "keep": 0.5}
    file = write_sweep(place, variables=None, shared=None, exclude=None, options=one, grid={"seed": [1]})
    without = home | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    other = home | {"RAY_AUTH_TOKEN": "f" * 64}
    for env in (without, other):
        driver = start(place, env, file, "-o", tmp_path / "out", "--ray", address)
        _, err = driver.communicate(timeout=120)
        assert driver.returncode == 1
        assert f"{address} answers, but its Ray takes nobody in who lacks its token or has another version" in err
        hear(err)
    driver = start(place, home, file, "-o", tmp_path / "out", "--ray", address)
    printed, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    hear(err)
    assert '"done": 1' in printed
    assert os.listdir(tmp_path / "out" / "results")
