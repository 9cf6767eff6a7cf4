"""Every architecture and head: converted, saved, reloaded by strangers, bit for bit."""

from pathlib import Path

import pytest
import torch
import transformers

from factcli import convert, load
from factcli.compress.structures import structures
from factcli.models.check import sample_inputs

from . import tiny
from .answers import save_answers
from .conftest import Run


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_head_reloads_without_factcli(kind: str, tmp_path: Path, stranger: Run) -> None:
    cases = tmp_path / "cases"
    for number, head in enumerate(tiny.heads(kind)):
        method = list(structures)[number % len(list(structures))]
        case = cases / f"{head}-{method}"
        dense = tiny.make(kind, head, seed=number)
        dense.save_pretrained(tmp_path / "dense" / head)
        result = convert(
            str(tmp_path / "dense" / head), _made(case) / "export", method=method, keep=0.6, **tiny.blocks(method)
        )
        model = save_answers(case)
        size = sum(f.stat().st_size for f in (case / "export").glob("*.safetensors"))
        assert abs(size - 4 * result["parameters"]["after"]) <= 0.01 * size + 65536
        tied = dense.get_output_embeddings() is not None and dense.config.tie_word_embeddings
        if tied and dense.get_input_embeddings().weight is dense.get_output_embeddings().weight:
            assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    done = stranger(str(Path(__file__).parent / "fresh" / "heads.py"), str(cases))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("same ") == len(tiny.heads(kind))


@pytest.mark.parametrize("kind", tiny.CONFIGS)
@pytest.mark.parametrize("method", list(structures))
def test_full_rank_gives_the_dense_outputs(kind: str, method: str, tmp_path: Path) -> None:
    """Native code that used a swapped layer in another way than calling it would show here."""
    dense = tiny.make(kind)
    dense.save_pretrained(tmp_path / "dense")
    result = convert(
        str(tmp_path / "dense"), tmp_path / "full", method=method, rank=64, force_rank=True, **tiny.blocks(method)
    )
    assert result["error"] < 1e-6
    inputs = sample_inputs(dense)
    with torch.inference_mode():
        outputs = load(tmp_path / "full").eval()(**inputs)
        expected = dense(**inputs)
    torch.testing.assert_close(outputs[0], expected[0], atol=2e-5, rtol=1e-4)


def test_one_base_checkpoint_serves_every_head(tmp_path: Path) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    convert(str(tmp_path / "dense"), tmp_path / "base", keep=0.5)
    base = load(tmp_path / "base").eval()
    inputs = sample_inputs(base)
    for name in ("AutoModelForSequenceClassification", "AutoModelForMaskedLM", "AutoModelForTokenClassification"):
        model = getattr(transformers, name).from_pretrained(tmp_path / "base").eval()
        assert type(model).__name__.startswith("FactorizedBertFor")
        with torch.inference_mode():
            a, b = model.base_model(**inputs)[0], base(**inputs)[0]
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
