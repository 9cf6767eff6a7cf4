"""Tokenizers that cannot be read, have code of their own, or do not go with their model: what is said of each."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors

import factcli
from factcli.errors import FactcliError, UsageError

from . import tiny
from .test_fit import make_tokenizer
from .test_reload import save_with_tokenizer
from .training_helpers import rows, save_model, write_csv

BERT = "BertForSequenceClassification"
OWN: dict[str, Any] = {
    "tokenizer_class": "OwnTokenizer",
    "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]},
}
CODE = """
from pathlib import Path
from transformers import BertTokenizer

class OwnTokenizer(BertTokenizer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        words = Path(kwargs["name_or_path"]) / ("words" + ".dat")  # a name that no reader of the code finds
        if words.is_file():
            self.add_tokens(words.read_text().split())
"""


def evaluated(folder: Path, **options: Any) -> Any:
    data = write_csv(folder.parent / "data.csv", [("w7 w8", "0"), ("w9 w10", "1")])
    return factcli.evaluate(str(folder), validation=data, device="cpu", **options)


def test_code_without_a_class_that_stands_in(tmp_path: Path) -> None:
    save_with_tokenizer(tiny.make("bert", BERT), tmp_path / "bert", OWN)
    (tmp_path / "bert" / "tokenization_own.py").write_text("raise SystemExit")
    with pytest.raises(FactcliError, match="code of its own: read it, then give --trust-remote-code to run it"):
        evaluated(tmp_path / "bert")


def test_code_for_which_a_class_stands_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_with_tokenizer(tiny.make("bert", BERT), tmp_path / "bert", OWN | {"tokenizer_class": "BertTokenizer"})
    (tmp_path / "bert" / "tokenization_own.py").write_text("raise SystemExit")
    assert evaluated(tmp_path / "bert")[0]["examples"] == 2
    assert "(tokenization_own.OwnTokenizer)" not in caplog.text
    assert "code of its own (tokenization_own.py), which is not run without --trust-remote-code" in caplog.text
    assert "BertTokenizer stands in for it" in caplog.text


def test_a_file_that_is_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stops what reads texts; a conversion takes it along, and says so."""
    folder = save_model(tmp_path / "bert", "bert", BERT)
    (folder / "tokenizer.json").write_text("{")
    said = r"has no tokenizer that can be read: put tokenizer\.json and its like beside the model \(.+\)\."
    with pytest.raises(FactcliError, match=said):
        evaluated(folder)
    factcli.convert(str(folder), tmp_path / "out", keep=0.5)
    assert "The tokenizer cannot be loaded here, and is in the export as it was, untried." in caplog.text
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{"


def test_code_that_reads_what_an_export_does_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_with_tokenizer(tiny.make("bert", vocab_size=120), tmp_path / "bert", OWN)
    (tmp_path / "bert" / "tokenization_own.py").write_text(CODE)
    (tmp_path / "bert" / "words.dat").write_text("café people")
    factcli.convert(str(tmp_path / "bert"), tmp_path / "out", keep=0.5, trust_remote_code=True)
    assert "gives other ids than the source's: load the source's tokenizer beside it." in caplog.text
    assert "words.dat" in caplog.text  # which is left out


def test_more_token_types_than_the_model_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make_tokenizer(pad_token="[PAD]", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 [CLS]:2", pair="$A:0 [SEP]:0 $B:1 [CLS]:2", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tiny.make("bert", BERT).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    assert evaluated(tmp_path / "bert")[0]["examples"] == 2
    assert "bert has 2 token types, its tokenizer gives type 2: they are left out." in caplog.text


def test_an_objective_that_is_not_for_the_head(tmp_path: Path) -> None:
    save_model(tmp_path / "bert", "bert", "BertForMaskedLM")
    texts = write_csv(tmp_path / "texts.csv", [(text,) for text, _ in rows(20, 1)], ("text",))
    said = "bert fills in masked tokens: --objective class is not for it; take one of masked, embedding, hidden"
    with pytest.raises(UsageError, match=said):
        factcli.convert(
            str(tmp_path / "bert"), tmp_path / "out", keep=0.5, criterion="kfac", calibration=str(texts),
            objective="class",
        )  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "texts.csv"]
    assert json.loads((tmp_path / "bert" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
