"""What Ray itself says of a run, and of GPUs."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

from factcli.errors import FactcliError
from factcli.sweeping.engine import Slots
from factcli.sweeping.on_ray import _begin, _record

from .test_store import task

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra")


def test_what_a_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is here and not there, as factcli may be; a process that dies is another thing."""
    import ray

    (tmp_path / "here_alone.py").write_text("import os\ndef go():\n    pass\ndef die(*_):\n    os._exit(1)\n")
    _begin("local", Slots(1, 1))
    try:
        monkeypatch.syspath_prepend(tmp_path)
        import here_alone  # type: ignore[import-not-found]

        lacking = ray.remote(here_alone.go).remote()

        @ray.remote(max_retries=0)
        def die() -> None:
            import os

            os._exit(1)

        found = _record(ray, lacking, task("run"))
        lost = _record(ray, die.remote(), task("lost"))
    finally:
        ray.shutdown()
        sys.modules.pop("here_alone", None)
    assert (found["state"], found["lasting"]) == ("failed", False)
    assert found["error"].startswith("it could not begin on its machine: ")
    assert "No module named 'here_alone'" in found["error"]
    assert "\n" not in found["error"]
    assert lost["error"] == "its process or machine was lost (WorkerCrashedError), 3 times."


def test_fewer_gpus_than_workers(caplog: pytest.LogCaptureFixture) -> None:
    """Ray takes our word for how many there are."""
    import ray

    caplog.set_level(logging.WARNING)
    _begin("local", Slots(4, 1, 1))
    try:
        assert ray.cluster_resources()["GPU"] == 1  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
    assert "--workers 4: Ray gives each run a GPU of its own, so that 1 go on at a time; with --ray none" in caplog.text


def test_a_ray_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here its folder has too long a name for sockets; that no cluster answers would be no help."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 30)))
    with pytest.raises(FactcliError, match=r"(?s)No Ray of this machine's own starts \(.+107 bytes.+: take --ray none"):
        _begin("local", Slots(1, 1))
