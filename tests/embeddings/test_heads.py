"""Every architecture and head with factorized embeddings: what is written, and what strangers reload."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factcli import convert, load
from factcli.remote_code.embeddings_factorized import FactorizedEmbedding, SharedEmbedding, TiedHead

from ..answers import save_answers
from ..conftest import Run
from ..vocabulary import made
from . import cases

FRESH = Path(__file__).parent.parent / "fresh"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every case the dense model, the export by frequency (`CLASS-NAME`) and the plain one (`CLASS-NAME-plain`)."""
    folder = tmp_path_factory.mktemp("embeddings")
    texts = made.texts(folder / "texts.txt", 60)
    for name, (_, head, _, _) in cases.ALL.items():
        source = cases.save(name, folder / "dense" / name)
        for case in (f"{head}-{name}", f"{head}-{name}-plain"):
            place = folder / "cases" / case
            place.mkdir(parents=True)
            if case.endswith("plain"):
                convert(str(source), place / "export", embeddings="factorize", keep=0.5)
            else:
                cases.by_frequency(name, source, place / "export", texts)
            save_answers(place)
    return folder


def _case(exports: Path, name: str) -> Path:
    return exports / "cases" / f"{cases.ALL[name][1]}-{name}" / "export"


def test_every_head_reloads_without_factcli_bit_for_bit(exports: Path, stranger: Run) -> None:
    done = stranger(str(FRESH / "heads.py"), str(exports / "cases"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("same ") == 2 * len(cases.ALL)


@pytest.mark.parametrize("run", ["stranger", "stranger_4"], ids=["today", "transformers-4"])
def test_what_strangers_do_with_one(exports: Path, run: str, request: pytest.FixtureRequest) -> None:
    done = request.getfixturevalue(run)(str(FRESH / "embeddings.py"), str(exports / "cases"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as it was: ") == 2 * (len(cases.ALL) - (run == "stranger_4"))  # see there


@pytest.mark.parametrize("name", cases.ALL)
def test_the_written_model_is_the_product_and_as_large_as_the_plan_says(
    exports: Path, name: str, tmp_path: Path
) -> None:
    """Converted once more: its plan is that of a dry run, and the same bytes come out."""
    _, _, tied, changes = cases.ALL[name]
    source, texts = exports / "dense" / name, exports / "texts.txt"
    planned = cases.by_frequency(name, source, tmp_path / "none", texts, dry_run=True)
    result = cases.by_frequency(name, source, tmp_path / "out", texts)
    assert {key: result[key] for key in planned if key != "calibration"} == {
        key: value for key, value in planned.items() if key != "calibration"
    }
    written = tmp_path / "out" / "model.safetensors"
    assert written.read_bytes() == (_case(exports, name) / "model.safetensors").read_bytes()

    entry, model = cases.layer(result), load(tmp_path / "out").eval()
    embedding = model.base_model.get_input_embeddings()
    assert isinstance(embedding, FactorizedEmbedding)
    tensors = load_file(written)
    size, tokens = entry["shape"]
    assert (embedding.embedding_dim, embedding.num_embeddings) == (size, tokens)
    assert sum(entry["sizes"]) == tokens
    assert len(set(entry["ranks"])) > 1
    assert entry["tied"] is tied
    assert torch.equal(embedding.place.sort().values, torch.arange(tokens, dtype=torch.int32))
    own = [t for n, t in tensors.items() if f".{entry['name']}.".removeprefix(".") in n and t.is_floating_point()]
    assert sum(t.numel() for t in own) == entry["parameters"] + 1  # and the marker
    floats = sum(t.numel() for t in tensors.values() if t.is_floating_point())
    assert floats == result["parameters"]["after"] + 1
    assert result["targets"]["after"] <= 0.5 * result["targets"]["before"]
    assert result["bytes"]["after"] == sum(t.nbytes for t in tensors.values()) - 4

    stands_for = cases.matrix(embedding)
    scale = size**0.5 if "scale_embedding" in changes else 1.0
    ids = torch.randperm(tokens).reshape(1, -1)
    with torch.inference_mode():
        torch.testing.assert_close(embedding(ids)[0], scale * stands_for[ids[0]])
    dense = _dense(source, entry["name"])
    error = (stands_for - dense).double().norm() / dense.double().norm()
    assert 0.1 < error == pytest.approx(result["error"], rel=1e-4)
    _check_head(model, source, embedding, tied, stands_for)


def _dense(source: Path, name: str) -> torch.Tensor:
    tensors = load_file(source / "model.safetensors")
    (found,) = [t for key, t in tensors.items() if key.endswith(f"{name}.weight") and "coder" not in key]
    return found


def _check_head(model: Any, source: Path, embedding: FactorizedEmbedding, tied: bool, stands_for: torch.Tensor) -> None:
    """A head that is tied multiplies by the same matrix, transposed; another one is the one that was."""
    heads = [m for m in model.modules() if isinstance(m, TiedHead)]
    assert bool(heads) is tied
    shared = [m for m in model.modules() if isinstance(m, (SharedEmbedding, TiedHead))]
    assert all(m.__dict__["shared"] is embedding for m in shared)
    if tied:
        (head,) = heads
        hidden = torch.randn(2, 3, embedding.embedding_dim)
        bias = 0.0 if head.bias is None else head.bias
        torch.testing.assert_close(head(hidden), hidden @ stands_for.T + bias, atol=1e-5, rtol=1e-4)
        assert model.get_output_embeddings() is None
    elif (head := model.get_output_embeddings() or getattr(model, "lm_head", None)) is not None:
        kept = load_file(source / "model.safetensors")
        name = next(n for n, m in model.named_modules() if m is head)
        assert torch.equal(head.weight, kept[f"{name}.weight"])
