"""What a model and its tokenizer can take together: predictions as of each text alone, lengths, tokens, padding."""

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers as t
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

import factcli
from factcli.data.encoding import encode
from factcli.errors import FactcliError
from factcli.models.fit import Fit, find_fit
from factcli.models.loading import bare_model, load_model
from factcli.models.model import Model, find_model
from factcli.scores.prediction import predict

from . import tiny
from .conftest import Run
from .training_helpers import WORDS, rows, write_csv

TEXTS = [" ".join(WORDS[i : i + 1 + 5 * i % 11]) for i in range(14)]
MARKED = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
_ENCODER = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 64, "max_position_embeddings": 40}  # fmt: skip
MORE: dict[str, tuple[str, dict[str, Any]]] = {  # beside those of tiny.CONFIGS
    "mpnet": ("MPNet", _ENCODER | {"pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", _ENCODER | {"pad_token_id": 0}),
    "longformer": ("Longformer", _ENCODER | {"pad_token_id": 1, "attention_window": 4}),
    "camembert": ("Camembert", _ENCODER | {"pad_token_id": 1}),
    "nystromformer": ("Nystromformer", _ENCODER),
    "convbert": ("ConvBert", _ENCODER | {"embedding_size": 32, "head_ratio": 1}),
    "fnet": ("FNet", _ENCODER | {"tpu_short_seq_length": 40}),
    "xlnet": ("XLNet", {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
    "opt": ("OPT", {"vocab_size": 99, "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "ffn_dim": 64, "max_position_embeddings": 40, "pad_token_id": 0,
                    "bos_token_id": 1, "eos_token_id": 2}),
    "bloom": ("Bloom", {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0}),
}  # fmt: skip


def make_tokenizer(template: tuple[str, str] = ("$A", "$A $B"), **values: Any) -> PreTrainedTokenizerFast:
    """Word-level: [PAD] 0, [CLS] 1, [SEP] 2, [UNK] 3, then WORDS; `template` says what it adds to texts and pairs."""
    words = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS, "good", "bad"))}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    added = [("[CLS]", 1), ("[SEP]", 2)]
    core.post_processor = processors.TemplateProcessing(single=template[0], pair=template[1], special_tokens=added)
    roles = {"unk_token": "[UNK]", "eos_token": "[SEP]", "model_input_names": ["input_ids", "attention_mask"]}
    return PreTrainedTokenizerFast(tokenizer_object=core, **(roles | values))


def make_model(kind: str, **changes: Any) -> t.PreTrainedModel:
    if kind not in MORE:
        name = tiny.CONFIGS[kind][0].removesuffix("Config")
        return tiny.make(kind, f"{name}ForSequenceClassification", **changes)
    name, values = MORE[kind]
    torch.manual_seed(0)
    model: t.PreTrainedModel = getattr(t, f"{name}ForSequenceClassification")(
        getattr(t, f"{name}Config")(**(values | changes))
    )
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def save(folder: Path, model: t.PreTrainedModel, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fit_of(folder: Path) -> Fit:
    source: Model = find_model(str(folder))
    return find_fit(bare_model(source), source.tokenizer, source.name)


def check_alone(folder: Path, texts: list[str], pairs: list[str] | None = None) -> None:
    """Predictions, in batches of one, some and all, are those of plain transformers for each text alone."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    taken, alone = inspect.signature(model.forward).parameters, []
    with torch.no_grad():
        for i, text in enumerate(texts):
            given = tokenizer(text, pairs[i] if pairs else None, return_tensors="pt")
            alone.append(model.eval()(**{k: v for k, v in given.items() if k in taken}).logits[0])
    source = find_model(str(folder))
    loaded = load_model(source).model
    fit = find_fit(loaded, source.tokenizer, source.name)
    data = Dataset.from_dict({"text": texts} | ({"text_pair": pairs} if pairs else {}))
    features = encode(fit, data, fit.limit(None, bool(pairs)).tokens)
    padding = loaded.config.pad_token_id
    for size in (1, 4, len(texts)):
        found = torch.from_numpy(predict(loaded, fit, features, size))
        torch.testing.assert_close(found, torch.stack(alone), atol=1e-5, rtol=1e-4)
    assert torch.stack(alone).std() > 1e-3
    assert loaded.config.pad_token_id == padding


@pytest.mark.parametrize("kind", [*tiny.CONFIGS, *MORE])
def test_predictions_are_those_of_each_text_alone(kind: str, tmp_path: Path) -> None:
    roles: dict[str, Any] = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "padding_side": "left"}
    ids = {"eos_token_id": 2, "bos_token_id": 1} if kind in ("bart", "t5") else {}
    if kind in ("roberta", "mpnet", "camembert", "longformer", "bart"):
        roles["pad_token"] = "[CLS]"  # token 1, as their configurations say; it is no padding where a text begins
    check_alone(save(tmp_path / kind, make_model(kind, **ids), make_tokenizer(MARKED, **roles)), TEXTS)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("kind", "configured", "padding"),
    [
        ("gpt2", None, None),
        ("gpt2", 2, "[SEP]"),  # which some of the texts end in
        ("gpt2", 5, "[PAD]"),  # not the same
        ("llama", -1, None),
        ("llama", 99, "[PAD]"),
        ("bert", None, "[PAD]"),
        ("bert", 0, None),
    ],
)
def test_padding_tokens(kind: str, configured: int | None, padding: str | None, side: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(padding_side=side, **({"pad_token": padding} if padding else {}))
    texts = [text + " [SEP]" * (i % 3) for i, text in enumerate(TEXTS)]
    model = make_model(kind, **({} if configured == 99 else {"pad_token_id": configured}))
    folder = save(tmp_path / "m", model, tokenizer)
    if configured == 99:  # beyond the embedding, which torch refuses to build
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    check_alone(folder, texts)


def test_an_end_token_in_the_text_of_a_classifier_with_a_decoder(tmp_path: Path) -> None:
    """BART looks for the last one, and refuses batches in which texts have different numbers of them."""
    tokenizer = make_tokenizer(("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"), pad_token="[PAD]")
    folder = save(tmp_path / "bart", make_model("bart", pad_token_id=0), tokenizer)
    check_alone(folder, ["w1 w2", "w1 [SEP] w2", "w3 w4", "w5 [SEP] w6", "w7 w8 w9"])
    fit = fit_of(folder)
    features = encode(fit, Dataset.from_dict({"text": ["w1", "w1 w2", "w1 [SEP] w2"]}), 8)
    fit.check_ends(features, alike=False)
    with pytest.raises(FactcliError, match=r"Example 3 of the training data holds the end token '\[SEP\]' 2 times"):
        fit.check_ends(features, alike=True)
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    without = save(tmp_path / "without", make_model("bart", pad_token_id=0, **names), make_tokenizer(pad_token="[PAD]"))
    file = write_csv(tmp_path / "d.csv", rows(8, 0))
    with pytest.raises(
        FactcliError, match=r"classifies by the end token '\[SEP\]' \(2\), which its tokenizer does not"
    ):
        factcli.evaluate(str(without), validation=file)


# --- lengths


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("bert", {}, 64),
        ("albert", {}, 64),
        ("roberta", {"pad_token_id": 1}, 62),
        ("roberta", {"pad_token_id": 0}, 63),
        ("xlm-roberta", {"pad_token_id": 5}, 34),
        ("camembert", {}, 38),
        ("longformer", {}, 38),
        ("mpnet", {}, 38),
        ("nystromformer", {}, 40),
        ("bart", {}, 64),
        ("opt", {}, 40),
        ("gpt2", {}, 64),
        ("deberta-v2", {"position_biased_input": True}, 64),
        ("deberta-v2", {"position_biased_input": False}, None),
        ("t5", {}, None),
        ("xlnet", {}, None),
        ("bloom", {}, None),
        ("llama", {}, 64),
        ("modernbert", {}, 64),
    ],
)
def test_positions(kind: str, changes: dict[str, Any], expected: int | None, tmp_path: Path) -> None:
    """As many tokens as are said work; one more does not, where positions come from a table."""
    model = make_model(kind, **changes)
    fit = find_fit(model, make_tokenizer(MARKED, pad_token="[PAD]"), "m")
    assert fit.positions == expected
    for length in (expected or 200, *([expected + 1] if expected and fit.absolute else [])):
        ids = torch.full((1, length), 7)
        ids[0, -1] = model.config.eos_token_id if kind in ("bart", "t5") else 2
        with torch.no_grad():
            if length == expected or expected is None:
                assert bool(torch.isfinite(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits).all())
            else:
                with pytest.raises((IndexError, RuntimeError)):
                    model(input_ids=ids, attention_mask=torch.ones_like(ids))


def fit_with(said: Any, kind: str = "roberta") -> Fit:
    tokenizer = make_tokenizer(MARKED, pad_token="[PAD]")
    tokenizer.model_max_length = said
    return find_fit(make_model(kind), tokenizer, "m")


def test_the_length_is_what_fits_unless_it_was_asked_for() -> None:
    cases: list[tuple[Any, str, int]] = [
        (10**30, "roberta", 62), (None, "roberta", 62), (0, "roberta", 62), (2, "roberta", 62), (512, "roberta", 62),
        (32, "roberta", 32), (512, "t5", 128), (10**30, "t5", 128), (100, "t5", 100),
    ]  # fmt: skip
    for said, kind, expected in cases:
        assert fit_with(said, kind).limit(None, pair=False).tokens == expected, (said, kind)
    fit = fit_with(32)
    assert fit.limit(50, pair=False).tokens == 50  # the model can, whatever its tokenizer says
    assert fit.limit(None, pair=False, trained=50).tokens == 50
    assert fit.limit(None, pair=False, trained=90).tokens == 62
    assert fit_with(512, "t5").limit(4000, pair=False).tokens == 4000


@pytest.mark.parametrize(
    ("asked", "pair", "said"),
    [
        (63, False, "m has 62 positions: --max-length 63 is too long for it"),
        (1, False, "--max-length 1 leaves no room for text: the tokenizer of m adds 2 tokens.*give at least 3"),
        (2, False, "--max-length 2 leaves no room"),
        (3, True, "adds 3 tokens of its own to a pair; give at least 4"),
    ],
)
def test_lengths_that_do_not_fit(asked: int, pair: bool, said: str) -> None:
    with pytest.raises(FactcliError, match=said):
        fit_with(None).limit(asked, pair)


def test_too_few_positions_for_any_text() -> None:
    fit = find_fit(make_model("roberta", max_position_embeddings=4), make_tokenizer(MARKED, pad_token="[PAD]"), "m")
    with pytest.raises(FactcliError, match="m takes 2 tokens, of which its tokenizer adds 2 to each text"):
        fit.limit(None, pair=False)


def test_long_texts_are_cut_to_fit_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path / "m", make_model("roberta", pad_token_id=0), make_tokenizer(MARKED, pad_token="[PAD]"))
    long = write_csv(tmp_path / "long.csv", [(" ".join(WORDS) + f" w{i}", "01"[i % 2]) for i in range(8)])
    short = write_csv(tmp_path / "short.csv", [(f"w{i}", "01"[i % 2]) for i in range(8)])
    with caplog.at_level(logging.WARNING, "factcli"):
        factcli.evaluate(str(folder), validation=short)
        assert not caplog.messages
        factcli.evaluate(str(folder), validation=long)
        assert [m.rpartition("/")[2] for m in caplog.messages] == [
            "m has 63 positions: longer texts are cut at 63 tokens."
        ]
        caplog.clear()
        factcli.finetune(str(folder), tmp_path / "out", train=long, validation=long, max_steps=1, batch_size=4)
        assert sum("has 63 positions" in m for m in caplog.messages) == 1
        factcli.convert(
            str(folder), tmp_path / "small", keep=0.5, criterion="activation", calibration=str(long), dry_run=True
        )
        factcli.diagnose(str(folder), calibration=str(long))
        assert sum("has 63 positions" in m for m in caplog.messages) == 3
    for call in (
        lambda: factcli.evaluate(str(folder), validation=short, max_length=64),
        lambda: factcli.finetune(str(folder), tmp_path / "o", train=long, validation=long, max_length=64),
        lambda: factcli.diagnose(str(folder), calibration=str(long), max_length=64),
        lambda: factcli.convert(
            str(folder), tmp_path / "o", keep=0.5, criterion="kfac", calibration=str(long), max_length=64
        ),
        lambda: factcli.bench(str(folder), sequence_length=64, runs=1),
    ):
        with pytest.raises(FactcliError, match=r"has 63 positions: --(max|sequence)-length 64 is too long for it"):
            call()


# --- tokens and token types


def test_tokens_beyond_the_embedding(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(MARKED, pad_token="[PAD]")
    folder = save(tmp_path / "m", make_model("bert", vocab_size=50), tokenizer)
    few = write_csv(tmp_path / "few.csv", [(f"w{i}", "01"[i % 2]) for i in range(8)])
    factcli.evaluate(str(folder), validation=few)  # what is not needed does not matter
    more = write_csv(tmp_path / "more.csv", [(f"w{i + 40}", "01"[i % 2]) for i in range(8)])
    said = r"reads 'w47' as token 51, but the model's embedding has 50 rows"
    for call in (
        lambda: factcli.evaluate(str(folder), validation=more),
        lambda: factcli.finetune(str(folder), tmp_path / "o", train=more, validation=few),
        lambda: factcli.finetune(str(folder), tmp_path / "o", train=few, validation=more),
        lambda: factcli.convert(str(folder), tmp_path / "o", keep=0.5, criterion="kfac", calibration=str(more)),
    ):
        with pytest.raises(FactcliError, match=said):
            call()
    assert not (tmp_path / "o").exists()


TYPED = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"], "pad_token": "[PAD]"}


@pytest.mark.parametrize(
    ("kind", "changes", "typed", "expected"),
    [
        ("bert", {}, True, True),
        ("bert", {}, False, False),
        ("bert", {"type_vocab_size": 1}, True, False),
        ("roberta", {"pad_token_id": 0, "type_vocab_size": 1}, True, False),
        ("roberta", {"pad_token_id": 0, "type_vocab_size": 2}, True, True),
        ("distilbert", {}, True, False),
        ("deberta-v2", {}, True, True),
        ("xlnet", {}, True, True),
        ("gpt2", {"pad_token_id": 0}, True, True),
        ("llama", {}, True, False),
    ],
)
def test_token_types(kind: str, changes: dict[str, Any], typed: bool, expected: bool, tmp_path: Path) -> None:
    """A tokenizer that gives them (or not) with a model that takes them, has one of them, or none."""
    tokenizer = make_tokenizer(MARKED, **(TYPED if typed else {"pad_token": "[PAD]"}))
    folder = save(tmp_path / "m", make_model(kind, **changes), tokenizer)
    fit = fit_of(folder)
    features = encode(fit, Dataset.from_dict({"text": ["w1 w2"], "text_pair": ["w3"]}), 16)
    assert ("token_type_ids" in features[0]) == expected
    if expected:
        assert features[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1]
        check_alone(folder, TEXTS, TEXTS[::-1])
    data = write_csv(
        tmp_path / "d.csv", [(a, b, c) for (a, c), b in zip(rows(8, 0), TEXTS, strict=False)],
        ("text", "text_pair", "label"),
    )  # fmt: skip
    factcli.evaluate(str(folder), validation=data, label_names=["no", "yes"])


@pytest.mark.parametrize("kind", ["fnet", "xlnet"])
def test_training_without_a_mask_and_with_padding_on_the_left(kind: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "m", make_model(kind), make_tokenizer(MARKED, **TYPED))
    data = write_csv(tmp_path / "d.csv", rows(24, 0))
    options: dict[str, Any] = {"keep": 0.5, "schedule": "direct", "device": "cpu"}
    if kind == "fnet":  # XLNet's layers have their tokens in another order than calibration knows
        options["criterion"] = "kfac"
    result = factcli.finetune(
        str(folder), tmp_path / "out", train=data, validation=data, max_steps=2, batch_size=8, **options
    )
    assert factcli.evaluate(str(tmp_path / "out"), validation=data)[0]["metrics"] == result["metrics"]
    padding = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()).get("padding_side", "right")
    assert padding == ("left" if kind == "xlnet" else "right")


def test_a_batch_is_padded_as_the_model_needs() -> None:
    features = [{"input_ids": [1, 5, 6, 2], "labels": 0}, {"input_ids": [1, 2], "labels": 1}]
    right = find_fit(make_model("gpt2", pad_token_id=0), make_tokenizer(padding_side="left"), "m").batch(features)
    assert right["input_ids"].tolist() == [[1, 5, 6, 2], [1, 2, 0, 0]]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert right["labels"].tolist() == [0, 1]
    left = find_fit(make_model("xlnet"), make_tokenizer(pad_token="[UNK]"), "m").batch(features)
    assert left["input_ids"].tolist() == [[1, 5, 6, 2], [3, 3, 1, 2]]
    assert left["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    words = [f | {"labels": ids} for f, ids in zip(features, ([7, 8, 2], [7, 2]), strict=True)]
    assert find_fit(tiny.make("t5"), make_tokenizer(), "m").batch(words)["labels"].tolist() == [[7, 8, 2], [7, 2, -100]]


def test_texts_without_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path / "m", make_model("gpt2", pad_token_id=None), make_tokenizer())
    (tmp_path / "glue" / "sst2").mkdir(parents=True)
    table = pa.table({"sentence": ["", "w1 w2", "", "w3 w4", "w" * 10**6], "label": [0, 1, 1, 0, 1]})
    for split in ("train", "validation"):
        pq.write_table(table, tmp_path / "glue" / "sst2" / f"{split}.parquet")
    glue: dict[str, Any] = {"task": "sst2", "data_dir": tmp_path / "glue"}
    with caplog.at_level(logging.WARNING, "factcli"):
        assert factcli.evaluate(str(folder), **glue)[0]["examples"] == 5
        factcli.finetune(str(folder), tmp_path / "out", max_steps=1, batch_size=5, **glue)
    assert sum("2 texts have no token and are read as '[SEP]'" in m for m in caplog.messages) == 3


def test_tokenizers_that_are_written_in_python(tmp_path: Path) -> None:
    canine = t.CanineForSequenceClassification(
        t.CanineConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                       num_hash_functions=2, num_hash_buckets=400, max_position_embeddings=400)
    ).eval()  # fmt: skip
    check_alone(save(tmp_path / "canine", canine, t.CanineTokenizer()), TEXTS)
    assert fit_of(tmp_path / "canine").positions == 400
    bytes_of = save(tmp_path / "byt5", tiny.make("t5", "T5ForConditionalGeneration", vocab_size=384), t.ByT5Tokenizer())
    data = write_csv(tmp_path / "d.csv", rows(8, 0))
    result = factcli.finetune(
        str(bytes_of), tmp_path / "out", train=data, validation=data, text_to_text=True, max_steps=1, batch_size=4
    )
    assert factcli.evaluate(str(tmp_path / "out"), validation=data)[0]["metrics"] == result["metrics"]


# --- what the export needs to pad

PAD = """
import sys, torch, transformers as t
for name in sys.argv[1:]:
    model = t.AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True).eval()
    tokenizer = t.AutoTokenizer.from_pretrained(name, trust_remote_code=True)
    texts = ["w1 w2 w3 w4 w5", "w6", "w7 w8 w9"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (3, 5), batch
    with torch.no_grad():
        together = model(**batch).logits
        alone = torch.cat([model(**tokenizer(x, return_tensors="pt")).logits for x in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    print(name, model.config.pad_token_id, tokenizer.pad_token)
"""


def test_an_export_can_pad(tmp_path: Path, stranger: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Trained without a padding token, with one beyond the embedding, with two that differ, and padded on the left."""
    data = write_csv(tmp_path / "d.csv", rows(12, 0))
    beyond = make_tokenizer()
    beyond.add_special_tokens({"pad_token": "<pad>"})
    while len(beyond) < 100:
        beyond.add_tokens([f"more{len(beyond)}"])
    beyond.pad_token = beyond.convert_ids_to_tokens(99)
    cases = {
        "none": (make_model("gpt2", pad_token_id=None), make_tokenizer(), 2),
        "beyond": (make_model("gpt2", pad_token_id=None), beyond, 2),
        "other": (make_model("llama", pad_token_id=7), make_tokenizer(pad_token="[PAD]"), 0),
        "left": (make_model("gpt2", pad_token_id=0), make_tokenizer(pad_token="[PAD]", padding_side="left"), 0),
    }
    with caplog.at_level(logging.WARNING, "factcli"):
        for name, (model, tokenizer, expected) in cases.items():
            folder = save(tmp_path / name, model, tokenizer)
            options: dict[str, Any] = {"max_steps": 1, "batch_size": 6, "train": data, "validation": data}
            if name == "none":  # of our class; the others stay native
                options |= {"keep": 0.5, "schedule": "direct"}
            factcli.finetune(str(folder), tmp_path / f"{name}-out", **options)
            assert json.loads((tmp_path / f"{name}-out" / "config.json").read_text())["pad_token_id"] == expected
    said = " ".join(caplog.messages)
    assert "none has no padding token: '[SEP]' takes its place" in said
    assert "is token 99, but the model's embedding has 99 rows: '[SEP]' takes its place" in said
    assert "names 7 as padding in its config.json: 0, as it is padded, takes its place" in said
    assert "saved with padding on the right" in said
    done = stranger("-c", PAD, *(str(tmp_path / f"{name}-out") for name in cases))
    assert done.returncode == 0, done.stderr
    assert [line.split()[1:] for line in done.stdout.splitlines()] == [
        ["2", "[SEP]"], ["2", "[SEP]"], ["0", "[PAD]"], ["0", "[PAD]"],
    ]  # fmt: skip


# --- teachers


def test_teachers_that_read_otherwise(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d.csv", [(" ".join(WORDS[:50]), "01"[i % 2]) for i in range(8)])
    names = {"id2label": {0: "0", 1: "1"}, "label2id": {"0": 0, "1": 1}}
    tokenizer = make_tokenizer(MARKED, pad_token="[PAD]")
    student = save(tmp_path / "student", make_model("bert"), tokenizer)
    short = save(tmp_path / "short", make_model("bert", max_position_embeddings=40, **names), tokenizer)
    options: dict[str, Any] = {"train": data, "validation": data, "max_steps": 1, "batch_size": 4}
    with pytest.raises(FactcliError, match="has 40 positions, the training data up to 52 tokens: give --max-length 40"):
        factcli.finetune(str(student), tmp_path / "out", teacher=str(short), **options)
    # A teacher that takes token types, a student that takes none: the same to both for single texts, not for pairs.
    typed = save(tmp_path / "typed", make_model("bert", **names), make_tokenizer(MARKED, **TYPED))
    small = save(tmp_path / "small", make_model("distilbert"), make_tokenizer(MARKED, **TYPED))
    factcli.finetune(str(small), tmp_path / "taught", teacher=str(typed), **options)
    factcli.finetune(str(typed), tmp_path / "back", teacher=str(tmp_path / "taught"), **options)
    pairs = write_csv(tmp_path / "p.csv", [("w1", "w2", "01"[i % 2]) for i in range(8)], ("text", "text_pair", "label"))
    with pytest.raises(FactcliError, match=r"with other token types than .*small"):
        factcli.finetune(
            str(small), tmp_path / "out", teacher=str(typed), **(options | {"train": pairs, "validation": pairs})
        )
