"""diagnose: numbers against their definitions, the table, the plot, and what it refuses."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers

from factcli import diagnose
from factcli.commands.diagnose import _Loss, _times_the_loss
from factcli.compress.criteria import criteria
from factcli.compress.measured import measure
from factcli.errors import FactcliError
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import find_targets, matrix
from factcli.recipe.factorizing import Recipe

from .training_helpers import rows, save_model, save_tokenizer, write_csv


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("diagnose")
    save_model(made / "model", head="BertForSequenceClassification")
    write_csv(made / "train.csv", rows(48, 0))
    return made


@pytest.fixture(autouse=True)
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(folder / "cache"))


def test_spectra_and_errors(folder: Path) -> None:
    result = diagnose(str(folder / "model"))
    assert result["calibration"] is None
    base = load_model(find_model(str(folder / "model"))).model.base_model
    assert [x["name"] for x in result["layers"]] == [t.name for t in find_targets(base)]
    for layer in result["layers"]:
        values = torch.linalg.svdvals(matrix(base.get_submodule(layer["name"])).detach().double())
        assert torch.allclose(torch.tensor(layer["singular_values"]).double(), values, atol=1e-5)
        assert list(layer["errors"]) == ["frobenius"]
        left = values.square().flip(0).cumsum(0).flip(0)
        for rank, error in zip(layer["ranks"], layer["errors"]["frobenius"], strict=True):
            expected = float((left[rank] / left[0]).sqrt()) if rank < len(left) else 0.0
            assert error == pytest.approx(expected, abs=1e-5)
        share = values.square().cumsum(0) / values.square().sum()
        assert share[layer["rank_90"] - 1] >= 0.9 > (share[layer["rank_90"] - 2] if layer["rank_90"] > 1 else 0)


def test_with_data(folder: Path) -> None:
    data = str(folder / "train.csv")
    result = diagnose(str(folder / "model"), calibration=data)
    source = find_model(str(folder / "model"))
    weights = measure(source, load_model(source), Recipe(criterion="fisher", calibration=data)).calibration
    assert weights is not None
    assert result["calibration"]["examples"] == 48
    for layer in result["layers"]:
        assert list(layer["errors"]) == [name for name in criteria if name != "sparsity"]  # nothing was pruned
        for errors in layer["errors"].values():
            assert all(a >= b for a, b in pairwise(errors))
        fisher = weights.statistics[layer["name"]].fisher
        assert fisher is not None
        phi = float(fisher.double().var(unbiased=False) / fisher.double().mean() ** 2)
        assert layer["fisher_variance"] == pytest.approx(phi, rel=1e-2)
        kfac = dict(zip(layer["ranks"], layer["errors"]["kfac"], strict=True))
        for rank, svd in zip(layer["keeps"].values(), layer["svd_errors"], strict=True):
            assert svd >= kfac[rank] - 1e-5  # no projection beats the best one in its own metric
        assert layer["advice"].count("\n") == 0
    assert "plain SVD" in result["verdict"] or "Plain SVD" in result["verdict"]


def test_times_the_loss_by_hand() -> None:
    """A quarter of 24 parameters: the first rank of either target, 2 and 4; what is left is 1 + 0.5 and 2 + 0.1."""
    losses = [
        _Loss(10.0, torch.tensor([8.0, 1.0, 0.5]), price=2, size=8),
        _Loss(2.0, torch.tensor([3.0, 2.0, 0.1]), price=4, size=16),
    ]
    assert _times_the_loss(losses) == pytest.approx(12 / 3.6)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot(ending: str, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / f"figure.{ending}"
    diagnose(str(folder / "model"), include=["query", "intermediate"], plot=file)
    assert file.stat().st_size > 5000
    head = file.read_bytes()[:200]
    assert head.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in head


def test_plot_is_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FactcliError, match=r"must end in \.png"):
        diagnose(str(folder / "model"), plot=tmp_path / "figure.jpeg2")
    with pytest.raises(FactcliError, match="is not a directory"):
        diagnose(str(folder / "model"), plot=tmp_path / "absent" / "figure.png")


def test_targets_that_share_their_weights(tmp_path: Path) -> None:
    """Zamba has one block of attention in many places: with no other target there is nothing to examine."""
    config = transformers.ZambaConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=6, num_attention_heads=4, intermediate_size=64,
        attn_layer_period=2, attn_layer_offset=1, n_mamba_heads=2, mamba_d_state=4, mamba_dt_rank=4,
    )  # fmt: skip
    transformers.ZambaModel(config).save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    with pytest.raises(FactcliError, match=r"shares its weight with another module.*: take others with --include\."):
        diagnose(str(tmp_path / "model"), include="shared_transf", plot=tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()
    assert diagnose(str(tmp_path / "model"), include=["shared_transf", "mamba"])["layers"]


def test_the_command(factcli: Callable[..., object], folder: Path, tmp_path: Path) -> None:
    cache = str(folder / "cache")
    asked = ("diagnose", folder / "model", "--calibration", folder / "train.csv")
    table, every = (factcli(*asked, *more, FACTCLI_CACHE=cache, COLUMNS="100") for more in ((), ("--json",)))
    assert table.returncode == 0, table.stderr
    assert table.stdout.startswith("Plain SVD ")
    worst = sorted(json.loads(every.stdout)["layers"], key=lambda layer: -layer["times"])[:5]
    shown = [line for line in table.stdout.splitlines() if line.startswith("encoder.")]
    assert [line.split()[0] for line in shown] == [layer["name"] for layer in worst]
    assert [line.split()[1] for line in shown] == [f"{layer['times']:.1f}" for layer in worst]
    whole = factcli(*asked, "--all", FACTCLI_CACHE=cache, COLUMNS="100").stdout
    assert all(layer["name"] in whole for layer in json.loads(every.stdout)["layers"])
    assert max(map(len, (table.stdout + whole).splitlines())) <= 100
    out = factcli("diagnose", folder / "model", "--include", "query", "--json", "--plot", tmp_path / "f.png")
    assert out.returncode == 0, out.stderr
    assert len(json.loads(out.stdout)["layers"]) == 2
    assert (tmp_path / "f.png").is_file()
    bad = factcli("diagnose", tmp_path / "nothing")
    assert bad.returncode == 1
    assert bad.stderr.startswith("Error: ")
