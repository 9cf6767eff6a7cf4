"""Run where factcli is not: what people do with a model they got from someone. One JSON line for each feature.

Argument: a folder of exports: bert-mlm, bert-cls, t5, gpt2, llama, low-rank-cls, "a path.v1 0" (a copy of bert-cls).
"""

import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as t
from safetensors.torch import load_file

FEATURES: dict[str, Callable[[Path], None]] = {}
TRUST = {"trust_remote_code": True}
IDS = torch.tensor([[2, 11, 12, 13, 14, 3]])


def feature(function: Callable[[Path], None]) -> Callable[[Path], None]:
    FEATURES[function.__name__] = function
    return function


def logits(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits


def classifier(folder: Path, **options: object) -> t.PreTrainedModel:
    return t.AutoModelForSequenceClassification.from_pretrained(folder, **TRUST, **options)


@feature
def without_trust_it_raises(exports: Path) -> None:
    # the first: a trusted load before would have made the type known
    failure = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # there it asks, and nobody answers
            t.AutoModel.from_pretrained(exports / "bert-cls")
    except ValueError as error:
        failure = str(error)
    assert "trust_remote_code" in failure, failure


@feature
def auto_config(exports: Path) -> None:
    config = t.AutoConfig.from_pretrained(exports / "bert-cls", **TRUST)
    assert config.model_type == "factorized_bert"
    assert isinstance(config, t.BertConfig)
    assert config.factorization["format_version"] == 2


@feature
def native_classes_raise_too(exports: Path) -> None:
    for name, native in (("bert-cls", t.BertModel), ("low-rank-cls", t.BertForSequenceClassification),
                         ("t5", t.T5ForConditionalGeneration), ("gpt2", t.GPT2LMHeadModel)):  # fmt: skip
        failure = ""
        try:
            native.from_pretrained(exports / name)
        except RuntimeError as error:
            failure = str(error)
        assert "size" in failure, f"{native.__name__} took {name}"


@feature
def every_auto_class_of_the_map(exports: Path) -> None:
    auto_map = json.loads((exports / "bert-mlm" / "config.json").read_text())["auto_map"]
    assert len(auto_map) > 8
    for auto, reference in auto_map.items():
        if auto != "AutoConfig":
            model = getattr(t, auto).from_pretrained(exports / "bert-mlm", **TRUST)
            assert type(model).__name__ == reference.split(".")[1]


@feature
def pipeline_classification(exports: Path) -> None:
    pipe = t.pipeline("text-classification", model=str(exports / "bert-cls"), **TRUST)
    answer = pipe("w11 w12 w13")[0]
    tokens = pipe.tokenizer("w11 w12 w13", return_tensors="pt")["input_ids"]
    assert tokens.shape == (1, 5)
    torch.testing.assert_close(answer["score"], logits(pipe.model, tokens).softmax(-1).max().item())


@feature
def pipeline_fill_mask(exports: Path) -> None:
    pipe = t.pipeline("fill-mask", model=str(exports / "bert-mlm"), **TRUST)
    assert len(pipe("w11 [MASK] w13", top_k=3)) == 3


@feature
def generate(exports: Path) -> None:
    causal, seq2seq = t.AutoModelForCausalLM, t.AutoModelForSeq2SeqLM
    for name, auto in (("t5", seq2seq), ("gpt2", causal), ("llama", causal)):
        model = auto.from_pretrained(exports / name, **TRUST).eval()
        cached = model.generate(IDS, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        plain = model.generate(IDS, max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=False)
        assert torch.equal(cached, plain)
        assert cached.shape[1] >= 6


@feature
def bfloat16(exports: Path) -> None:
    model = classifier(exports / "bert-cls", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(logits(model).float(), logits(classifier(exports / "bert-cls")), atol=0.05, rtol=0.1)


@feature
def device_map_auto(exports: Path) -> None:
    model = classifier(exports / "bert-cls", device_map="auto")
    assert torch.equal(logits(model), logits(classifier(exports / "bert-cls")))


@feature
def saved_again_twice(exports: Path) -> None:
    for name in ("bert-cls", "low-rank-cls"):
        expected = logits(classifier(exports / name))
        with tempfile.TemporaryDirectory() as folder:
            source = exports / name
            for turn in ("once", "twice"):
                classifier(source).save_pretrained(Path(folder) / turn)
                source = Path(folder) / turn
                assert (source / "modeling_factorized.py").is_file()
                assert (source / "configuration_factorized.py").is_file()
                auto_map = json.loads((source / "config.json").read_text())["auto_map"]
                assert auto_map["AutoConfig"] == "configuration_factorized.FactorizedBertConfig"
            assert torch.equal(logits(classifier(source)), expected)
            base = t.AutoModel.from_pretrained(source, **TRUST)
            assert type(base).__name__ == "FactorizedBertModel"


@feature
def saved_again_from_the_base_model(exports: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        t.AutoModel.from_pretrained(exports / "bert-cls", **TRUST).save_pretrained(folder)
        assert type(classifier(Path(folder))).__name__ == "FactorizedBertForSequenceClassification"


@feature
def random_weights_from_the_configuration(exports: Path) -> None:
    for name, auto in (("bert-cls", t.AutoModelForSequenceClassification), ("t5", t.AutoModelForSeq2SeqLM)):
        config = t.AutoConfig.from_pretrained(exports / name, **TRUST)
        model = auto.from_config(config, **TRUST)
        assert all(bool(p.isfinite().all()) for p in model.parameters())
        assert float(max(p.abs().max() for p in model.parameters())) < 100


@feature
def paths(exports: Path) -> None:
    expected = logits(classifier(exports / "bert-cls"))
    odd = exports / "a path.v1 0"
    for path in (str(odd), f"{odd}/"):
        assert torch.equal(logits(classifier(path)), expected)
    os.chdir(odd)
    assert torch.equal(logits(classifier(".")), expected)
    os.chdir(exports)
    assert torch.equal(logits(classifier("./bert-cls")), expected)


@feature
def compiled(exports: Path) -> None:
    for name in ("bert-cls", "low-rank-cls"):
        model = classifier(exports / name)
        torch.testing.assert_close(logits(torch.compile(model)), logits(model), atol=1e-5, rtol=1e-4)


@feature
def exported_program(exports: Path) -> None:
    for name in ("bert-cls", "low-rank-cls"):
        model = classifier(exports / name).eval()
        program = torch.export.export(model, (), {"input_ids": IDS}, strict=False)
        torch.testing.assert_close(program.module()(input_ids=IDS).logits, logits(model), atol=1e-5, rtol=1e-4)


@feature
def lora(exports: Path) -> None:
    import peft

    model = classifier(exports / "low-rank-cls")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["factor_in", "factor_out"])
    tuned = peft.get_peft_model(model, config)
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=0.5)
    tuned.train()(input_ids=IDS, labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    expected = logits(tuned)
    assert not torch.equal(expected, logits(classifier(exports / "low-rank-cls")))
    with tempfile.TemporaryDirectory() as folder:
        tuned.save_pretrained(folder)
        again = peft.PeftModel.from_pretrained(classifier(exports / "low-rank-cls"), folder)
        torch.testing.assert_close(logits(again), expected, atol=1e-6, rtol=1e-5)


@feature
def sharded(exports: Path) -> None:
    whole = classifier(exports / "bert-cls")
    with tempfile.TemporaryDirectory() as folder:
        whole.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(Path(folder).glob("*.safetensors"))) > 2
        again = classifier(Path(folder))
        for model in (whole, again):  # shards are mapped at other addresses, and kernels round by their alignment
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
        assert torch.equal(logits(again), logits(whole))


@feature
def tokenizer_without_a_class(exports: Path) -> None:
    tokenizer = t.AutoTokenizer.from_pretrained(exports / "bert-mlm", **TRUST)
    assert tokenizer("w11 w12")["input_ids"] == [2, 11, 12, 3]


@feature
def exported_config_is_enough_for_safetensors(exports: Path) -> None:
    tensors = load_file(exports / "low-rank-cls" / "model.safetensors")
    assert "bert.encoder.layer.0.attention.self.query.factor_in.weight" in tensors


if __name__ == "__main__":
    assert importlib.util.find_spec("factcli") is None
    torch.set_num_threads(1)
    t.logging.set_verbosity_error()
    for name, function in FEATURES.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        try:
            function(Path(sys.argv[1]))
            print(json.dumps([name, None]), flush=True)
        except Exception:
            print(json.dumps([name, traceback.format_exc()]), flush=True)
