"""bench on the device: events, memory, variants."""

import pytest

import factcli

from ..test_bench import LENGTH, STRUCTURES, by_hand
from ..tiny import blocks, make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_variant(dtype: str, device: str, on_gpu: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bench")
    make("bert").save_pretrained(folder / "dense")
    rank, count = STRUCTURES["monarch"]
    factcli.convert(str(folder / "dense"), folder / "monarch", method="monarch", rank=rank, **blocks("monarch", count))
    variants = ["eager", "compile", "cuda-graphs"] if on_gpu else ["eager"]
    result = factcli.bench(
        str(folder / "monarch"), baseline=str(folder / "dense"), variant=variants, device=device, dtype=dtype,
        sequence_length=LENGTH, runs=2, batch_size=(1, 3),
    )  # fmt: skip
    assert bool(result["device_name"]) == on_gpu
    assert {r["variant"] for r in result["results"]} == set(variants)
    for r in result["results"]:
        assert all(t > 0 for turn in r["samples_ms"] for t in turn)
        assert r["flops"] == by_hand(r["batch_size"], *(None, 1) if r["baseline"] else STRUCTURES["monarch"])
        size = 4 if dtype == "float32" else 2
        assert r["peak_memory_bytes"] > (size * r["parameters"] if on_gpu else 0)


def test_evaluate(place: object, device: str) -> None:
    """The same answers on both devices."""
    common = {"task": "sst2", "data_dir": place / "glue"}  # type: ignore[operator]
    found = [factcli.evaluate(str(place / "classes"), device=on, **common)[0] for on in (device, "cpu")]  # type: ignore
    assert found[0]["metrics"] == found[1]["metrics"]
