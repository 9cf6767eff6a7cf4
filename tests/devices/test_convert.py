"""Conversions on the device against those on the CPU: the same plan, the same error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import factcli
from factcli.calibration.cache import KIND
from factcli.compress.criteria import criteria
from factcli.compress.structures import structures
from factcli.files.caches import cache_directory
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import matrix

from .. import tiny
from ..training_helpers import weights

# Statistics are sums of float32 products, which devices round in orders of their own; plain SVD is float64 throughout.
EXACT, MEASURED = 1e-6, 1e-4


def matrices(folder: Path) -> dict[str, Tensor]:
    """The matrix that each factorized layer of an export stands for, in float64."""
    model = factcli.load(folder).double()
    found = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "factor_out") and hasattr(layer, "in_features"):
            eye = torch.eye(layer.in_features, dtype=torch.float64)  # type: ignore[arg-type]
            with torch.inference_mode():
                found[name] = (layer(eye) - layer(torch.zeros_like(eye))).T
    return found


def errors(folder: Path, source: Path) -> dict[str, float]:
    """Relative, of each of those matrices."""
    dense = load_model(find_model(str(source))).model.double()
    found = {}
    for name, w in matrices(folder).items():
        exact = matrix(dense.get_submodule(name)).detach()
        found[name] = float((w - exact).norm() / exact.norm())
    return found


def both(place: Path, tmp_path: Path, device: str, model: str, tolerance: float, **options: Any) -> None:
    """Convert here and there, and compare the plans and the errors."""
    plans = {}
    for on in ("cpu", device):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FACTCLI_CACHE", str(tmp_path / f"cache of {on}"))
            result = factcli.convert(str(place / model), tmp_path / f"out-{on}", device=on, overwrite=True, **options)
        plans[on] = [(x["name"], x["structure"], x["rank"]) for x in result["layers"]]
    assert plans[device] == plans["cpu"]
    there, here = errors(tmp_path / f"out-{device}", place / model), errors(tmp_path / "out-cpu", place / model)
    assert there.keys() == here.keys()
    assert there
    worst = max(abs(there[name] - here[name]) / here[name] for name in here)
    assert worst < tolerance, f"{worst:.2g}"


@pytest.mark.parametrize("method", list(structures))
def test_every_structure(method: str, place: Path, tmp_path: Path, device: str) -> None:
    both(place, tmp_path, device, "base", EXACT, method=method, keep=0.5, **tiny.blocks(method))


@pytest.mark.parametrize("criterion", [c for c in criteria if c != "frobenius"])
@pytest.mark.parametrize("model", ["classes", "embedding"])
def test_every_criterion(criterion: str, model: str, place: Path, tmp_path: Path, device: str) -> None:
    given: dict[str, Any] = {} if criterion == "sparsity" else {"calibration": place / "texts.txt"}
    both(place, tmp_path, device, model, MEASURED, criterion=criterion, keep=0.4, **given)


@pytest.mark.parametrize("method", ["low-rank", "monarch"])
def test_global_with_embeddings(method: str, place: Path, tmp_path: Path, device: str) -> None:
    both(
        place, tmp_path, device, "embedding", MEASURED, criterion="kfac", allocation="global", keep=0.4,
        embeddings="factorize", calibration=place / "texts.txt", method=method, **tiny.blocks(method),
    )  # fmt: skip


@pytest.mark.parametrize("criterion", ["activation", "kfac"])
def test_without_compensation(criterion: str, place: Path, tmp_path: Path, device: str) -> None:
    """Compensation is the default: this is the path without it."""
    both(
        place, tmp_path, device, "classes", MEASURED, criterion=criterion, compensation="none", keep=0.4,
        calibration=place / "texts.txt",
    )  # fmt: skip


def test_cached_statistics_serve_any_device(
    place: Path, tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathered there, read here and there again: the factors are the same to the last digits of float32."""
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    common: dict[str, Any] = {
        "criterion": "kfac", "keep": 0.4, "compensation": "none", "calibration": place / "texts.txt",
    }  # fmt: skip
    first = factcli.convert(str(place / "classes"), tmp_path / "first", device=device, **common)
    files = sorted(cache_directory(KIND).glob("*"))
    assert files
    assert not first["calibration"]["cached"]
    for on in (device, "cpu"):
        again = factcli.convert(str(place / "classes"), tmp_path / f"again-{on}", device=on, overwrite=True, **common)
        assert again["calibration"]["cached"]
        there, here = matrices(tmp_path / "first"), matrices(tmp_path / f"again-{on}")
        for name, w in there.items():
            torch.testing.assert_close(here[name], w, rtol=1e-4, atol=1e-6)
    assert sorted(cache_directory(KIND).glob("*")) == files


def test_diagnose(place: Path, device: str) -> None:
    found = factcli.diagnose(str(place / "classes"), calibration=str(place / "texts.txt"), device=device)
    on_cpu = factcli.diagnose(str(place / "classes"), calibration=str(place / "texts.txt"), device="cpu")
    assert found.keys() == on_cpu.keys()
    assert [t["name"] for t in found["layers"]] == [t["name"] for t in on_cpu["layers"]]


def test_what_is_written_knows_no_device(place: Path, tmp_path: Path, device: str) -> None:
    factcli.convert(str(place / "base"), tmp_path / "out", keep=0.5, device=device)
    assert {t.device.type for t in weights(tmp_path / "out").values()} == {"cpu"}
    assert "cuda" not in (tmp_path / "out" / "config.json").read_text(encoding="utf-8")
