"""--vocabulary as a user gives it: alone and before a factorization, with what is said, saved and published of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel

import factcli
from factcli import convert
from factcli.models.model import find_model

from ..conftest import Run
from ..hub import HubServer
from ..hub_client import HubClient
from ..training_helpers import write_glue
from . import made

TOKENS = 371  # that the tokenizer of `made.word_piece` has
RELOAD = """if True:
    import sys, torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    import transformers
    path = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=sys.argv[2] == "trusted")
    model = AutoModelForSequenceClassification.from_pretrained(path, trust_remote_code=sys.argv[2] == "trusted").eval()
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    with torch.inference_mode():
        print(type(model).__name__, model(**tokenizer("river gardens", return_tensors="pt")).logits.tolist())
"""


@pytest.fixture(scope="module")
def world_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    made.save("bert", "BertForSequenceClassification", folder / "bert", num_labels=3)
    made.texts(folder / "texts.txt")
    return folder


def logits(folder: Path, trust: bool = False) -> list[Any]:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust).eval()
    with torch.inference_mode():
        found: list[Any] = model(**made.load(folder)("river gardens", return_tensors="pt")).logits.tolist()
    return found


def test_alone_it_is_a_native_model_that_strangers_load(world_: Path, tmp_path: Path, stranger: Run) -> None:
    result = convert(str(world_ / "bert"), tmp_path / "out", vocabulary=world_ / "texts.txt", vocabulary_size=100)
    vocabulary = result["vocabulary"]
    assert vocabulary["after"] == 100 < vocabulary["before"] == TOKENS
    assert vocabulary["texts"] == 400
    assert 0.5 < vocabulary["kept_share"] < 1
    assert vocabulary["fallback"]["texts"] == 40
    assert vocabulary["fallback"]["smaller"] > 0
    assert result["parameters"]["before"] - result["parameters"]["after"] == 32 * (TOKENS - 100)
    assert result["bytes"]["after"] == result["parameters"]["after"] * 4
    assert result["layers"] == []
    assert result["error"] is None
    assert not list((tmp_path / "out").glob("*.py"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "bert"
    assert config["vocab_size"] == 100
    assert "auto_map" not in config
    assert len((tmp_path / "out" / "tokenizer.json").read_text()) < len(
        (world_ / "bert" / "tokenizer.json").read_text()
    )
    recipe = yaml.safe_load((tmp_path / "out" / "factcli_recipe.yaml").read_text())
    assert {k: v for k, v in recipe.items() if k != "made_with"} == {"vocabulary": "texts.txt", "vocabulary_size": 100}
    assert recipe["made_with"]["model"] == "bert"
    assert len(recipe["made_with"]["vocabulary_sha256"]) == 64
    assert f"cut from {TOKENS} to 100 tokens" in recipe["made_with"]["steps"][0]
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text() + json.dumps(recipe)
    assert f"| tokens of the vocabulary | {TOKENS} | 100 |" in (tmp_path / "out" / "README.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    done = stranger("-c", RELOAD, str(tmp_path / "out"), "plain")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"BertForSequenceClassification {logits(tmp_path / 'out')}"


def test_before_a_factorization(world_: Path, tmp_path: Path, stranger: Run) -> None:
    """Of full rank nothing else is lost."""
    options: dict[str, Any] = {"vocabulary": world_ / "texts.txt", "rank": 32, "force_rank": True}
    planned = convert(str(world_ / "bert"), dry_run=True, **options)
    result = convert(str(world_ / "bert"), tmp_path / "out", **options)
    assert result["vocabulary"] == planned["vocabulary"]
    assert result["parameters"] == planned["parameters"]
    whole = find_model(str(world_ / "bert")).stored.parameters
    assert result["parameters"]["before"] == whole
    assert result["vocabulary"]["after"] < TOKENS
    done = stranger("-c", RELOAD, str(tmp_path / "out"), "trusted")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("FactorizedBertForSequenceClassification ")
    torch.testing.assert_close(logits(tmp_path / "out", True), logits(world_ / "bert"), atol=1e-4, rtol=1e-3)
    recipe = yaml.safe_load((tmp_path / "out" / "factcli_recipe.yaml").read_text())
    assert recipe["vocabulary"] == "texts.txt"
    assert recipe["rank"] == 32
    assert [step.split()[0] for step in recipe["made_with"]["steps"]] == ["Vocabulary", "Factorized"]
    assert "tokens of the vocabulary" in (tmp_path / "out" / "README.md").read_text()


def test_a_budget_is_of_the_whole_model_and_calibration_reads_the_smaller_one(world_: Path, tmp_path: Path) -> None:
    result = convert(
        str(world_ / "bert"), tmp_path / "out", vocabulary=world_ / "texts.txt", params=22000, criterion="activation",
        calibration=world_ / "texts.txt", calibration_samples=32,
    )  # fmt: skip
    assert result["parameters"]["after"] <= 22000
    assert result["calibration"]["examples"] == 32
    model = factcli.load(tmp_path / "out")
    assert model.get_input_embeddings().weight.shape[0] == result["vocabulary"]["after"]


def test_the_recipe_makes_the_same_again(world_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(str(world_ / "bert"), tmp_path / "a", vocabulary=world_ / "texts.txt", vocabulary_size=100, keep=0.5)
    monkeypatch.chdir(world_)
    convert(str(world_ / "bert"), tmp_path / "b", config=tmp_path / "a" / "factcli_recipe.yaml")
    for name in ("model.safetensors", "tokenizer.json", "config.json", "vocab.txt"):
        if (tmp_path / "a" / name).is_file() or name != "vocab.txt":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_dry_run_writes_nothing(world_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factcli: Run) -> None:
    monkeypatch.chdir(tmp_path)
    done = factcli("convert", str(world_ / "bert"), "--vocabulary", str(world_ / "texts.txt"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert ["tokens", str(TOKENS)] in [line.split()[:2] for line in done.stdout.splitlines()]
    assert "fall back to smaller pieces" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_tables_and_pairs(world_: Path) -> None:
    """Both columns of a pair count, and columns of another name are named."""
    a, b = made.sentences(50, 5, 3), made.sentences(50, 6, 3)
    rows = "".join(json.dumps({"question": x, "answer": y}) + "\n" for x, y in zip(a, b, strict=True))
    (world_ / "pairs.jsonl").write_text(rows)
    source, file = str(world_ / "bert"), world_ / "pairs.jsonl"
    both = convert(source, dry_run=True, vocabulary=file, text_column=("question", "answer"))
    one = convert(source, dry_run=True, vocabulary=file, text_column="question")
    assert (both["vocabulary"]["texts"], one["vocabulary"]["texts"]) == (100, 50)
    assert one["vocabulary"]["tokens"] < both["vocabulary"]["tokens"]
    with pytest.raises(factcli.FactcliError, match="--text-column"):
        convert(source, dry_run=True, vocabulary=file)


def test_half_precision_and_shards(tmp_path: Path) -> None:
    source = made.save("llama", "LlamaForCausalLM", tmp_path / "source")
    whole = AutoModel.from_pretrained(source)
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(source).to(torch.bfloat16)
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="40KB")
    assert (source / "model.safetensors.index.json").is_file()
    result = convert(str(source), tmp_path / "out", vocabulary=made.texts(tmp_path / "texts.txt"))
    again = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert again.dtype == torch.bfloat16
    new, old = made.load(tmp_path / "out"), made.load(source)
    kept = sorted(old.get_vocab()[token] for token in new.get_vocab())
    assert len(kept) == result["vocabulary"]["after"] < len(whole.get_input_embeddings().weight)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight[kept])
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight[kept])


def test_sentence_transformers_and_prompts(tmp_path: Path) -> None:
    """Embeddings of kept words are the same, and tokens of the model's own prompts stay though no text has them."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules as of

    bert = made.save("bert", None, tmp_path / "bert")
    model = st.SentenceTransformer(
        modules=[of.Transformer(str(bert), max_seq_length=32), of.Pooling(32)], device="cpu",
        prompts={"query": "castles and islands: "},
    )  # fmt: skip
    model.save_pretrained(str(tmp_path / "st"))
    convert(str(tmp_path / "st"), tmp_path / "out", vocabulary=made.texts(tmp_path / "texts.txt", stems=4))
    again = st.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    texts = made.sentences(5, 7, 4)
    for prompt in (None, "query"):
        torch.testing.assert_close(
            again.encode(texts, prompt_name=prompt), model.encode(texts, prompt_name=prompt), atol=1e-6, rtol=1e-5
        )
    assert len(again.tokenizer) < len(model.tokenizer)


def test_rerankers(tmp_path: Path) -> None:
    st = pytest.importorskip("sentence_transformers")
    source = made.save("xlm-roberta", "RobertaForSequenceClassification", tmp_path / "source", num_labels=1)
    convert(str(source), tmp_path / "out", vocabulary=made.texts(tmp_path / "texts.txt"))
    pairs = list(zip(made.sentences(6, 8, 9), made.sentences(6, 9, 9), strict=True))
    scores = [st.CrossEncoder(str(folder), device="cpu").predict(pairs) for folder in (source, tmp_path / "out")]
    torch.testing.assert_close(*map(torch.from_numpy, scores), atol=1e-6, rtol=1e-5)
    assert len(set(scores[0].tolist())) == 6


def test_finetune_takes_the_smaller_model_and_no_vocabulary(world_: Path, tmp_path: Path) -> None:
    write_glue(tmp_path / "glue", "sst2", train=16, validation=8)
    data: dict[str, Any] = {"task": "sst2", "data_dir": tmp_path / "glue", "max_steps": 2, "new_head": True}
    with pytest.raises(factcli.FactcliError, match="convert"):
        factcli.finetune(str(world_ / "bert"), tmp_path / "no", vocabulary=world_ / "texts.txt", keep=0.5, **data)
    convert(str(world_ / "bert"), tmp_path / "small", vocabulary=world_ / "texts.txt", keep=0.5)
    with pytest.raises(factcli.FactcliError, match="--vocabulary is for"):
        factcli.finetune(
            str(world_ / "bert"), tmp_path / "no", config=tmp_path / "small" / "factcli_recipe.yaml", **data
        )
    assert not (tmp_path / "no").exists()
    result = factcli.finetune(str(tmp_path / "small"), tmp_path / "out", **data)
    assert result["steps"] == 2


def test_files_of_sentencepiece_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = made.save("albert", None, tmp_path / "source")
    (source / "spiece.model").write_bytes(b"the whole vocabulary")
    convert(str(source), tmp_path / "out", vocabulary=made.texts(tmp_path / "texts.txt"))
    assert not (tmp_path / "out" / "spiece.model").exists()
    assert "spiece.model of " in caplog.text
    assert "left out, as with the whole vocabulary" in caplog.text


def test_vocabulary_files_say_what_tokenizer_json_says(tmp_path: Path) -> None:
    for kind, names in (("bert", ["vocab.txt"]), ("roberta", ["vocab.json", "merges.txt"])):
        source = made.save(kind, None, tmp_path / kind)
        tokenizer = made.load(source)
        tokenizer.backend_tokenizer.model.save(str(source))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        convert(str(source), tmp_path / "out", vocabulary=made.texts(tmp_path / "texts.txt"))
        before = made.load(tmp_path / "out").tokenize("river gardens winterless")
        (tmp_path / "out" / "tokenizer.json").unlink()
        assert all((tmp_path / "out" / name).is_file() for name in names)
        assert made.load(tmp_path / "out").tokenize("river gardens winterless") == before


def test_a_model_of_the_hub_is_named_as_its_source(
    world_: Path, tmp_path: Path, hub: HubServer, owner: HubClient
) -> None:
    hub.add_repo("someone/words", world_ / "bert")
    options = {"vocabulary": str(world_ / "texts.txt")}
    planned = owner.call("convert", "someone/words", None, dry_run=True, **options)
    made_ = owner.call("convert", "someone/words", str(tmp_path / "out"), keep=0.5, **options)
    assert planned["vocabulary"] == made_["vocabulary"]
    recipe = yaml.safe_load((tmp_path / "out" / "factcli_recipe.yaml").read_text())
    assert recipe["made_with"]["model"] == "someone/words"
    assert len(recipe["made_with"]["revision"]) == 40
    assert "base_model: someone/words" in (tmp_path / "out" / "README.md").read_text()
    owner.call(
        "convert", None, str(tmp_path / "again"), config=str(tmp_path / "out" / "factcli_recipe.yaml"), **options
    )
    again, first = (tmp_path / name / "model.safetensors" for name in ("again", "out"))
    assert again.read_bytes() == first.read_bytes()
