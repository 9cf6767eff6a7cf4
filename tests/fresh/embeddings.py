"""Run where factcli is not: exports whose embeddings are factorized give what they gave, and go on to be used.

Argument: a folder of cases, as for heads.py, of which the names say which kind they are. Prints a line for each case.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import torch
import transformers as t
from safetensors.torch import load_file

TRUST = {"trust_remote_code": True}
IDS = torch.tensor([[2, 11, 12, 13, 14, 3]])


def outputs(model: t.PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [v for v in model.eval()(**inputs).values() if isinstance(v, torch.Tensor)]


def same(case: Path, auto: type, inputs: dict[str, torch.Tensor], expected: list[torch.Tensor]) -> t.PreTrainedModel:
    """What it was, up to another release's kernels; saved again, twice, bit for bit, each tensor once."""
    model = auto.from_pretrained(case / "export", **TRUST)
    found = outputs(model, inputs)
    assert len(found) == len(expected) > 0, case.name
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=lambda text: f"{case.name}: {text}")
    names = load_file(case / "export" / "model.safetensors").keys()
    with tempfile.TemporaryDirectory() as folder:
        again = model
        for turn in ("once", "twice"):
            again.save_pretrained(Path(folder) / turn)
            assert load_file(Path(folder) / turn / "model.safetensors").keys() == names, case.name
            again = auto.from_pretrained(Path(folder) / turn, **TRUST)
        assert all(torch.equal(a, b) for a, b in zip(outputs(again, inputs), found, strict=True)), case.name
    return model


def trained(model: t.PreTrainedModel, inputs: dict[str, torch.Tensor], case: str) -> None:
    """The head follows the embedding, and what stands for other groups' tokens stays zero."""
    (embedding,) = [m for m in model.modules() if type(m).__name__ == "FactorizedEmbedding"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    before = [rows.weight.detach().clone() for rows in embedding.rows]
    for _ in range(3):
        optimizer.zero_grad()
        sum(
            v.float().square().mean() for v in model.train()(**inputs).values() if isinstance(v, torch.Tensor)
        ).backward()
        optimizer.step()
    for rows, old in zip(embedding.rows, before, strict=True):
        assert not rows.weight[0].any(), case
        assert not torch.equal(rows.weight, old), case
    model.eval()
    ids = torch.arange(embedding.num_embeddings)
    for head in (m for m in model.modules() if type(m).__name__ == "TiedHead"):
        hidden = torch.randn(3, embedding.embedding_dim)
        with torch.no_grad():
            plain = hidden @ (embedding(ids) / embedding.scale).T + (0 if head.bias is None else head.bias)
            torch.testing.assert_close(head(hidden), plain, atol=1e-4, rtol=1e-4)


def resized(model: t.PreTrainedModel, case: str) -> None:
    size = model.base_model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(size)
    failure = ""
    try:
        model.resize_token_embeddings(size + 1)
    except ValueError as error:
        failure = str(error)
    assert "resize those of the dense model" in failure, f"{case}: {failure}"


def generated(model: t.PreTrainedModel) -> None:
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    cached, plain = (model.generate(IDS, use_cache=use, **options) for use in (True, False))
    assert torch.equal(cached, plain)
    assert cached.shape[1] >= 6
    assert model.generate(IDS, num_beams=3, max_new_tokens=4).shape[0] == 1


def lora(export: Path) -> None:
    """Beside the embedding, which stays as it is."""
    import peft

    for modules in (["factor_in", "factor_out"], "all-linear"):
        model = t.AutoModelForMaskedLM.from_pretrained(export, **TRUST)
        before = model(input_ids=IDS).logits
        tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=modules))
        assert any("lora" in name for name, _ in tuned.named_parameters())
        optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=0.5)
        for _ in range(2):
            tuned(input_ids=IDS, labels=IDS).loss.backward()
            optimizer.step()
        after = tuned(input_ids=IDS).logits
        assert not torch.allclose(before, after)
        torch.testing.assert_close(tuned.merge_and_unload()(input_ids=IDS).logits, after, atol=1e-4, rtol=1e-4)


def others(folder: Path) -> None:
    export = folder / "BertForMaskedLM-bert-mlm-plain" / "export"
    pipe = t.pipeline("fill-mask", model=str(export), **TRUST)
    answers = pipe("river [MASK] garden", top_k=3)
    tokens = pipe.tokenizer("river [MASK] garden", return_tensors="pt")
    at = int((tokens["input_ids"][0] == pipe.tokenizer.mask_token_id).nonzero())
    with torch.inference_mode():
        scores = pipe.model(**tokens).logits[0, at].softmax(-1).topk(3)
    assert [a["token"] for a in answers] == scores.indices.tolist()
    if importlib.util.find_spec("peft"):
        lora(export)
        print("lora")
    model = t.AutoModelForMaskedLM.from_pretrained(export, **TRUST).eval()
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    with torch.inference_mode():
        assert quantized(input_ids=IDS).logits.shape == (1, 6, model.config.vocab_size)
    program = torch.export.export(model, (), {"input_ids": IDS}, strict=False)
    torch.testing.assert_close(program.module()(input_ids=IDS).logits, model(input_ids=IDS).logits)
    half = t.AutoModelForMaskedLM.from_pretrained(export, dtype=torch.bfloat16, **TRUST).eval()
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(half(input_ids=IDS).logits.float(), model(input_ids=IDS).logits, atol=0.05, rtol=0.1)
    config = t.AutoConfig.from_pretrained(export, **TRUST)
    fresh = t.AutoModelForMaskedLM.from_config(config, **TRUST).eval()
    assert torch.isfinite(fresh(input_ids=IDS).logits).all()


if __name__ == "__main__":
    assert importlib.util.find_spec("factcli") is None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    t.logging.set_verbosity_error()
    for case in sorted(Path(sys.argv[1]).iterdir()):
        if t.__version__ < "5" and "-bert-untied" in case.name:
            continue  # that release ties the biases of BERT's head, of the dense model too
        auto = getattr(t, (case / "auto.txt").read_text())
        tensors = load_file(case / "tensors.safetensors")
        inputs = {k[3:]: v for k, v in tensors.items() if k.startswith("in.")}
        model = same(case, auto, inputs, [v for k, v in sorted(tensors.items()) if k.startswith("out.")])
        if (
            hasattr(model, "generate")
            and "BertLM" not in case.name
            and auto.__name__ in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
        ):
            generated(model)
        resized(model, case.name)
        trained(model, inputs, case.name)
        print("as it was:", case.name)
    others(Path(sys.argv[1]))
