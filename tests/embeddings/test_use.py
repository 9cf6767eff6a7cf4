"""What users do with an export whose embeddings are factorized: budgets, patterns, precisions, commands, runtimes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factcli import FactcliError, bench, convert, evaluate, export, finetune, inspect, load
from factcli.errors import UsageError
from factcli.remote_code.embeddings_factorized import FactorizedEmbedding, TiedHead

from ..runtimes.closeness import IN_BFLOAT16
from ..runtimes.conftest import save_sentence_transformer
from ..training_helpers import rows, save_model, write_csv
from ..vocabulary import made
from . import cases

HEAD = "BertForSequenceClassification"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("bert-mlm", "bert-cls"):
        cases.save(name, folder / name)
    made.texts(folder / "texts.txt", 60)
    return folder


def counted(folder: Path) -> int:
    """Parameters in a file of weights: without the element that stands in the place of each matrix."""
    layers = json.loads((folder / "config.json").read_text())["factorization"]["layers"]
    tensors = load_file(folder / "model.safetensors")
    markers = sum(layer["structure"] != "dense" for layer in layers)
    return sum(t.numel() for t in tensors.values() if t.is_floating_point()) - markers


@pytest.mark.parametrize("criterion", ["frobenius", "activation", "kfac"])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("budget", [{"keep": 0.2}, {"keep": 0.55}, {"params": 12000}, {"params": 20000}, {"rank": 5}])
def test_no_budget_is_exceeded(
    criterion: str, allocation: str, budget: dict[str, Any], sources: Path, tmp_path: Path
) -> None:
    if "rank" in budget and allocation == "global":
        pytest.skip("one rank for all is no matter of allocation")
    data = {} if criterion == "frobenius" else {"calibration": sources / "texts.txt", "calibration_samples": 20}
    given = {"criterion": criterion, "allocation": allocation, "embeddings": "factorize", **budget, **data}
    planned = convert(str(sources / "bert-mlm"), dry_run=True, **given)
    result = convert(str(sources / "bert-mlm"), tmp_path / "out", **given)
    assert result["layers"] == planned["layers"]
    assert counted(tmp_path / "out") == result["parameters"]["after"] == planned["parameters"]["after"]
    assert result["targets"]["after"] <= budget.get("keep", 1) * result["targets"]["before"]
    assert result["parameters"]["after"] <= budget.get("params", result["parameters"]["before"])
    if "keep" in budget:  # and it is filled, but for what a rank more would cost
        assert result["targets"]["after"] > (budget["keep"] - 0.08) * result["targets"]["before"]
    if "rank" in budget:
        assert {layer["rank"] for layer in result["layers"] if layer["structure"] == "low-rank"} == {5}
        assert cases.layer(result)["ranks"] == [5]


def test_patterns_choose_it_like_any_target(sources: Path, tmp_path: Path) -> None:
    source = str(sources / "bert-mlm")
    only = convert(source, tmp_path / "only", embeddings="factorize", keep=0.3, include=["word_embeddings"])
    assert [layer["name"] for layer in only["layers"]] == ["embeddings.word_embeddings"]
    both = convert(source, embeddings="factorize", keep=0.3, include=["word_embeddings", "query"], dry_run=True)
    assert [layer["name"].rpartition(".")[2] for layer in both["layers"]] == ["word_embeddings", "query", "query"]
    without = convert(source, embeddings="factorize", keep=0.3, exclude=["word_emb"], dry_run=True)
    assert without["layers"] == convert(source, keep=0.3, dry_run=True)["layers"]


REFUSED = [
    ("bert-mlm", {"criterion": "fisher"}, UsageError, r"--criterion fisher has no norm for embeddings: take one of"),
    ("bert-mlm", {"exclude": ["predictions"]}, FactcliError,
     r"'predictions' names cls\.predictions\.decoder, which is tied to the token embedding, so that they are one "
     r"target: give --exclude 'embeddings\.word_embeddings'\."),
    ("bert-mlm", {"include": ["decoder"]}, FactcliError, r"give --include 'embeddings\.word_embeddings'\."),
    ("bert-cls", {"exclude": ["predictions"]}, FactcliError, r"matches no target; names look like"),
    ("bert-mlm", {"keep": 0.001}, FactcliError, r"the feasible range is"),
    ("bert-mlm", {"embeddings": "tied"}, UsageError, r"dense or factorize|dense, factorize"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "error", "sentence"), REFUSED)
def test_refused(
    name: str, options: dict[str, Any], error: type[Exception], sources: Path, sentence: str, tmp_path: Path
) -> None:
    given = {"keep": 0.5, "embeddings": "factorize", "calibration": sources / "texts.txt"} | options
    if "criterion" not in options:
        del given["calibration"]
    with pytest.raises(error, match=sentence):
        convert(str(sources / name), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_heads_and_models_that_cannot(tmp_path: Path) -> None:
    made.save("deberta-v2", "DebertaV2ForMaskedLM", tmp_path / "new", legacy=False)
    with pytest.raises(FactcliError, match=r"head of DebertaV2ForMaskedLM multiplies by the matrix .* --embeddings"):
        convert(str(tmp_path / "new"), tmp_path / "out", embeddings="factorize", keep=0.5)
    made.save("bart", "BartForCausalLM", tmp_path / "decoder")
    with pytest.raises(FactcliError, match=r"no plain lookup: take --embeddings dense"):
        convert(str(tmp_path / "decoder"), tmp_path / "out", embeddings="factorize", keep=0.5)


def test_encoder_and_decoder_that_look_up_in_two_matrices(tmp_path: Path) -> None:
    """Whatever config.json says: transformers ties none that are both in the file and differ."""
    cases.save("bart", tmp_path / "bart")
    weights = load_file(tmp_path / "bart" / "model.safetensors")
    weights["model.encoder.embed_tokens.weight"] = 2 * weights["model.shared.weight"]
    save_file(weights, tmp_path / "bart" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FactcliError, match=r"matrices that differ: take --embeddings dense"):
        convert(str(tmp_path / "bart"), tmp_path / "out", embeddings="factorize", keep=0.5)
    assert not (tmp_path / "out").exists()


def test_sentence_transformers_embeds_with_it(tmp_path: Path) -> None:
    """Mean of the tokens, normalized, in a directory of its own: what it is loaded by says what it takes."""
    from sentence_transformers import SentenceTransformer

    made.save("bert", None, tmp_path / "dense")
    save_sentence_transformer(tmp_path / "dense")
    convert(str(tmp_path / "dense"), tmp_path / "out", embeddings="factorize", keep=0.5)
    embedder = SentenceTransformer(str(tmp_path / "out"), trust_remote_code=True, device="cpu")
    texts = made.sentences(3, 1)
    given = embedder.tokenizer(texts, padding=True, return_tensors="pt")
    hidden = load(tmp_path / "out").eval()(**given).last_hidden_state.detach()
    mask = given["attention_mask"].unsqueeze(-1)
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    assert torch.allclose(torch.from_numpy(embedder.encode(texts)), mean, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_precisions(dtype: str, sources: Path, tmp_path: Path) -> None:
    result = cases.by_frequency("bert-mlm", sources / "bert-mlm", tmp_path / "out", sources / "texts.txt", dtype=dtype)
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    place = tensors.pop("bert.embeddings.word_embeddings.place")
    assert place.dtype == torch.int32
    assert {t.dtype for t in tensors.values()} == {getattr(torch, dtype)}
    whole = cases.by_frequency("bert-mlm", sources / "bert-mlm", tmp_path / "whole", sources / "texts.txt")
    assert cases.layer(result)["ranks"] == cases.layer(whole)["ranks"]
    a, b = (load(tmp_path / n).base_model.get_input_embeddings() for n in ("out", "whole"))
    torch.testing.assert_close(cases.matrix(a).float(), cases.matrix(b), atol=2e-3, rtol=0.02)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that reads the words of `training_helpers`, with its dense model and rows of texts beside it."""
    folder = tmp_path_factory.mktemp("classifier")
    save_model(folder / "dense", "bert", HEAD, vocab_size=120)
    write_csv(folder / "data.csv", rows(96, 1))
    convert(
        str(folder / "dense"), folder / "out", embeddings="factorize", criterion="kfac", allocation="global", keep=0.4,
        calibration=folder / "data.csv", text_column=["text"], include=["word_embeddings", "query"],
    )  # fmt: skip
    return folder


def test_it_is_trained_with_a_teacher_and_scored(classifier: Path, tmp_path: Path) -> None:
    before = load(classifier / "out")
    data = classifier / "data.csv"
    done = finetune(
        str(classifier / "out"), tmp_path / "tuned", train=data, validation=data, teacher=str(classifier / "dense"),
        max_steps=4, batch_size=16, learning_rate=1e-3, device="cpu",
    )  # fmt: skip
    assert done["steps"] == 4
    embedding = load(tmp_path / "tuned").base_model.get_input_embeddings()
    assert isinstance(embedding, FactorizedEmbedding)
    for i, module in enumerate(embedding.rows):
        assert not module.weight[0].any()
        assert not torch.equal(module.weight, before.base_model.get_input_embeddings().rows[i].weight)
    assert torch.equal(embedding.place, before.base_model.get_input_embeddings().place)
    scored = evaluate(str(tmp_path / "tuned"), validation=data)[0]
    assert scored["examples"] == 96
    assert scored["metrics"]["accuracy"] == pytest.approx(done["metrics"]["accuracy"])


def test_finetune_itself_does_not_factorize_embeddings(classifier: Path, tmp_path: Path) -> None:
    data = classifier / "data.csv"
    with pytest.raises(UsageError, match=r"--embeddings factorize is for 'factcli convert'"):
        finetune(
            str(classifier / "dense"), tmp_path / "x", train=data, validation=data, embeddings="factorize", keep=0.5
        )  # fmt: skip


def test_what_is_said_of_it(classifier: Path) -> None:
    about = inspect(classifier / "out")
    assert about["parameters"] == counted(classifier / "out")
    card = (classifier / "out" / "README.md").read_text()
    assert "embedding" in card.lower()
    measured = bench(str(classifier / "out"), batch_size=1, sequence_length=8, runs=2, device="cpu")
    assert measured["results"][0]["parameters"] == counted(classifier / "out")
    recipe = (classifier / "out" / "factcli_recipe.yaml").read_text()
    assert "embeddings: factorize" in recipe


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_runtimes(runtime: str, classifier: Path, tmp_path: Path) -> None:
    """Held by the gate; in 8 bits the rows are too, without which a file that is mostly rows would stay as it is."""
    pytest.importorskip("onnxruntime" if runtime == "onnx" else "openvino")
    save_model(tmp_path / "dense", "bert", HEAD, vocab_size=8000)
    result = convert(str(tmp_path / "dense"), tmp_path / "out", embeddings="factorize", keep=0.6)
    in_rows = 4 * sum(n * r for n, r in zip(*(cases.layer(result)[key] for key in ("sizes", "ranks")), strict=True))
    assert in_rows > 0.7 * result["bytes"]["after"]
    sizes = {}
    for precision in ("float32", "int8"):
        made_of = export(
            str(tmp_path / "out"), output=tmp_path / precision, format=runtime, precision=precision,
            calibration=str(classifier / "data.csv"), calibration_samples=16,
        )  # fmt: skip
        assert made_of["checked"]["agreement"] > 0.9
        sizes[precision] = sum(file["bytes"] for file in made_of["files"])
    assert sizes["int8"] < sizes["float32"] - 0.6 * in_rows  # not 0.75: every row has a scale


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_tied_head_runs_in_a_graph(runtime: str, sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime" if runtime == "onnx" else "openvino")
    cases.by_frequency("bert-mlm", sources / "bert-mlm", tmp_path / "out", sources / "texts.txt")
    assert any(isinstance(m, TiedHead) for m in load(tmp_path / "out").modules())
    made_of = export(str(tmp_path / "out"), format=runtime)
    assert made_of["checked"]["max_difference"] < (0.02 if runtime == "openvino" and IN_BFLOAT16 else 1e-4)
