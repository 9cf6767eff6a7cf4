"""A sweep on a real Ray of two nodes on this machine: one is killed, then the driver; the next call completes it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import factcli

from ..said import hear
from .helpers import kill, make_place, records, start, wait_for_results, what_counts, write_sweep

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(world: dict[str, str]) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (world | {"RAY_USAGE_STATS_ENABLED": "0"}).items():
            patch.setenv(name, value)
        node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.second = cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()


def test_a_node_is_lost_and_then_the_driver(cluster: Any, tmp_path: Path, world: dict[str, str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    place = make_place(tmp_path)
    monkeypatch.chdir(place)
    file = write_sweep(
        place, exclude=None,
        grid={
            "structure": {"Low-Rank": {"method": "low-rank"}, "Monarch": {"method": "monarch", "blocks": 2}},
            "keep": [0.5, 0.25],
            "seed": [1, 2, 3, 4, 5, 6],
        },
    )  # fmt: skip
    out = tmp_path / "out"
    driver = start(place, world, file, "-o", out, "--ray", cluster.address)
    wait_for_results(out, 5, driver)
    cluster.remove_node(cluster.second, allow_graceful=False)
    before = len(records(out))
    wait_for_results(out, before + 5, driver)  # what was lost with the node is tried again, on the other one
    kill(driver)
    left = set(records(out))
    assert len(left) < 25, "the sweep was over before the driver was killed"

    deadline = time.monotonic() + 300
    driver = start(place, world, file, "-o", out, "--ray", cluster.address)
    printed, err = driver.communicate(timeout=deadline - time.monotonic())
    assert driver.returncode == 0, err
    assert f"On Ray at {cluster.address}: " in err  # it may count the node that is lost for a while
    hear(err)
    assert json.loads(printed)["totals"]["done"] == 25
    assert left < set(records(out))

    found = factcli.sweep(file, str(out), status=True)
    assert found["totals"] == {"runs": 25, "planned": 0, "running": 0, "done": 25, "failed": 0}
    model = next((out / "models").iterdir())
    for run in found["runs"]:
        if (run["labels"].get("structure"), run["labels"].get("seed")) in (("Low-Rank", "1"), ("Monarch", "4")):
            options = {k: v for k, v in run["options"].items() if k not in ("model", "data_dir")}
            alone = factcli.finetune(
                str(model), tmp_path / "alone", overwrite=True, data_dir="glue", save_steps=0, **options
            )
            assert what_counts(alone) == what_counts(run["result"]), run["name"]
