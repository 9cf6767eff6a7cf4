"""Statistics against plain loops over single examples; invariances; every kind of head; bad data."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import factcli
from factcli.calibration import Kind
from factcli.calibration.data import CalibrationOptions, load_examples
from factcli.calibration.gather import collate, gather
from factcli.calibration.losses import Example
from factcli.calibration.measure import calibrate
from factcli.compress.measured import measure
from factcli.errors import FactcliError, UsageError
from factcli.files.caches import cache_directory
from factcli.models.fit import Fit, find_fit
from factcli.models.loading import load_meta, load_model
from factcli.models.model import Model, find_model
from factcli.models.purpose import purpose_of
from factcli.models.targets import find_targets, matrix
from factcli.recipe.factorizing import FISHER, Recipe

from . import tiny
from .training_helpers import rows, save_model, write_csv

ALL = frozenset(Kind)
HEADS = [
    ("bert", None), ("bert", "BertForSequenceClassification"), ("bert", "BertForMaskedLM"),
    ("bert", "BertForTokenClassification"), ("bert", "BertForQuestionAnswering"), ("bert", "BertForPreTraining"),
    ("albert", "AlbertForSequenceClassification"), ("distilbert", "DistilBertForSequenceClassification"),
    ("deberta-v2", "DebertaV2ForSequenceClassification"), ("modernbert", "ModernBertForSequenceClassification"),
    ("gpt2", "GPT2LMHeadModel"), ("gpt2", "GPT2ForSequenceClassification"), ("llama", "LlamaForCausalLM"),
    ("t5", "T5ForConditionalGeneration"), ("t5", None), ("bart", "BartForConditionalGeneration"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))


def examples(count: int = 12, seed: int = 0) -> list[Example]:
    draw = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        size = int(torch.randint(3, 14, (), generator=draw))
        ids = torch.randint(4, 90, (size,), generator=draw).tolist()
        made.append(Example((1, *ids, 2), None, float(i % 2)))
    return made


def tokenizer(folder: Path) -> Any:
    save_model(folder)
    return find_model(str(folder)).tokenizer


def fit_of(source: Model) -> Fit:
    return find_fit(load_meta(source).model, source.tokenizer, source.name)


def tensors(found: Any) -> dict[str, Tensor]:
    return {
        f"{name}.{field}": value
        for name, statistics in found.statistics.items()
        for field, value in vars(statistics).items()
        if isinstance(value, Tensor)
    }


def assert_same(a: Any, b: Any, tolerance: float = 1e-6) -> None:
    one, other = tensors(a), tensors(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert float((value - other[name]).norm()) <= tolerance * max(float(value.norm()), 1e-30), name


def run(model: Any, tok: Any, data: list[Example], kinds: frozenset[Kind] = ALL, **options: Any) -> Any:
    return gather(model, tok, data, find_targets(model.base_model), kinds, **options)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "albert"])
def test_statistics_are_those_of_single_examples(kind: str, tmp_path: Path) -> None:
    """An example at a time, weights with gradients of their own, hooks of the plainest sort: nothing is shared."""
    head = {"bert": "BertForSequenceClassification", "gpt2": "GPT2ForSequenceClassification",
            "albert": "AlbertForSequenceClassification"}[kind]  # fmt: skip
    model, data = tiny.make(kind, head), examples()
    found = run(model, tokenizer(tmp_path), data, empirical=True, batch_tokens=40)
    for target in find_targets(model.base_model):
        module = model.base_model.get_submodule(target.name)
        inputs, gradients, fisher = [], [], torch.zeros(target.shape)
        for example in data:
            seen: list[Tensor] = []
            outputs: list[Tensor] = []
            hook = module.register_forward_hook(
                lambda _, args, out, seen=seen, outputs=outputs: (seen.append(args[0]), outputs.append(out), None)[-1]
            )
            logits = model(input_ids=torch.tensor([example.ids])).logits
            hook.remove()
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([int(example.label or 0)]))
            parts = torch.autograd.grad(loss, [module.weight, *outputs])
            fisher += (parts[0].T if kind == "gpt2" else parts[0]).square()
            inputs += [x.detach()[0] for x in seen]
            gradients += [g[0] for g in parts[1:]]
        x, g = torch.cat(inputs).double(), torch.cat(gradients).double()
        expected = {
            "mean": x.mean(0),
            "covariance": torch.cov(x.T, correction=0),
            "gradients": g.T @ g / len(data),
            "fisher": fisher.double() / len(data),
        }
        statistics = found.statistics[target.name]
        assert statistics.tokens == len(x)
        for name, value in expected.items():
            got = getattr(statistics, name).double()
            assert float((got - value).norm()) <= 2e-5 * float(value.norm()), (target.name, name)


@pytest.mark.parametrize(("kind", "head"), HEADS, ids=[f"{k}-{h or 'base'}" for k, h in HEADS])
def test_batches_and_order_do_not_matter(kind: str, head: str | None, tmp_path: Path) -> None:
    model, data = tiny.make(kind, head), examples(20)
    tok = tokenizer(tmp_path)
    tok.add_special_tokens({"mask_token": "[UNK]"})
    one = run(model, tok, data, batch_tokens=1)
    few = run(model, tok, data, batch_tokens=60)
    assert_same(one, few)
    assert_same(one, run(model, tok, data, batch_tokens=10_000))
    for name, value in tensors(run(model, tok, list(reversed(data)), batch_tokens=60)).items():
        assert torch.equal(value, tensors(few)[name]), name
    for name, value in tensors(one).items():
        assert bool(torch.isfinite(value).all()), name


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = tiny.make("bert", "BertForSequenceClassification").half().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run(model, tokenizer(tmp_path), examples())
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_sampled_fisher_is_exact_for_two_classes(tmp_path: Path) -> None:
    """The expectation over both labels under the model's own probabilities, computed label by label."""
    model, data = tiny.make("bert", "BertForSequenceClassification"), examples(6)
    found = run(model, tokenizer(tmp_path), data, frozenset({Kind.FISHER}))
    target = find_targets(model.base_model)[0]
    weight = matrix(model.base_model.get_submodule(target.name))
    expected = torch.zeros(target.shape)
    for example in data:
        log = model(input_ids=torch.tensor([example.ids])).logits.log_softmax(-1)[0]
        for label in range(2):
            g = torch.autograd.grad(-log[label], weight, retain_graph=True)[0]
            expected += log[label].exp().detach() * g.square() / len(data)
    got = found.statistics[target.name].fisher
    assert float((got - expected).norm()) < 1e-4 * float(expected.norm())


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    model, tok = tiny.make("bert", "BertForSequenceClassification"), tokenizer(tmp_path)
    assert run(model, tok, examples(4)).bytes == run(model, tok, examples(40)).bytes


def test_overflow_names_the_layer(tmp_path: Path) -> None:
    model = tiny.make("bert", "BertForSequenceClassification")
    model.bert.encoder.layer[0].intermediate.dense.weight.data.fill_(3e38)
    with pytest.raises(FactcliError, match=r"encoder\.layer\.0\.output\.dense are not finite"):
        run(model, tokenizer(tmp_path), examples())


def test_no_loss(tmp_path: Path) -> None:
    with pytest.raises(FactcliError, match="No loss can be formed for BertForMultipleChoice"):
        run(tiny.make("bert", "BertForMultipleChoice"), tokenizer(tmp_path), examples())


def test_labels_that_the_model_lacks(tmp_path: Path) -> None:
    data = [Example((1, 5, 2), None, 7.0)]
    with pytest.raises(FactcliError, match="the label 7, the model has 2 classes"):
        run(tiny.make("bert", "BertForSequenceClassification"), tokenizer(tmp_path), data, empirical=True)


def test_padding_on_the_right(tmp_path: Path) -> None:
    fit = fit_of(find_model(str(save_model(tmp_path / "m"))))
    batch, special = collate([Example((1, 5, 2)), Example((1, 2))], fit, torch.device("cpu"))
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert special.tolist() == [[True, False, True], [True, True, True]]


# --- data, cache


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", head="BertForSequenceClassification")


def options(file: Path, **changes: Any) -> CalibrationOptions:
    return CalibrationOptions(str(file), **changes)


def test_texts_alone_are_enough(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("w1 w2 w3\nw4 w5\n")
    source = find_model(str(trained))
    assert len(load_examples(options(file), fit_of(source), source.config, False)) == 2


def test_samples_are_drawn_from_all(trained: Path, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", rows(100, 0))
    source = find_model(str(trained))
    tok = fit_of(source)
    few = load_examples(options(file, samples=10), tok, source.config, False)
    every = load_examples(options(file), tok, source.config, False)
    assert len(few) == 10
    assert set(few) <= set(every)
    assert set(few) != set(every[:10])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("text\n", "no rows"),
        ("a,b\n1,2\n", "say which holds the text"),
        ('text\n"a\n', "in row 1"),
    ],
)
def test_bad_files(text: str, said: str, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    source = find_model(str(trained))
    with pytest.raises(FactcliError, match=said):
        load_examples(options(file), fit_of(source), source.config, False)


def test_unknown_data(trained: Path) -> None:
    source = find_model(str(trained))
    with pytest.raises(FactcliError, match="neither a GLUE task, a file, nor a Hub id"):
        load_examples(CalibrationOptions("sst3"), fit_of(source), source.config, False)


def test_empirical_needs_labels(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("w1 w2\nw3\n")
    recipe = Recipe(criterion="kfac", calibration=str(file), fisher="empirical", keep=0.5)
    source = find_model(str(trained))
    with pytest.raises(FactcliError, match="no column 'label'"):
        measure(source, load_model(source), recipe)


def test_few_tokens_warn(trained: Path, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "t.csv", rows(1, 0))
    source = find_model(str(trained))
    found = calibrate(source, load_model(source), options(file), frozenset({Kind.INPUTS}))
    assert "fewer than the features" in found.warnings[0]


def test_cached_by_model_data_and_settings(trained: Path, tmp_path: Path) -> None:
    file, other = write_csv(tmp_path / "t.csv", rows(20, 0)), write_csv(tmp_path / "o.csv", rows(20, 1))
    source = find_model(str(trained))

    def go(data: Path = file, kinds: frozenset[Kind] = ALL, **changes: Any) -> Any:
        return calibrate(source, load_model(source), options(data, **changes), kinds)

    first = go()
    assert not first.cached
    again = go()
    assert again.cached
    assert_same(first, again, 0.0)
    assert again.bytes == first.bytes
    assert not go(other).cached
    assert not go(seed=1).cached
    assert not go(fisher="empirical").cached
    assert not go(kinds=frozenset({Kind.INPUTS})).cached
    model = load_model(source).model
    model.base_model.encoder.layer[0].output.dense.weight.data += 1
    model.save_pretrained(trained)
    assert not go().cached


def test_a_damaged_cache_is_no_error(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_csv(tmp_path / "t.csv", rows(20, 0))
    source = find_model(str(trained))
    calibrate(source, load_model(source), options(file), ALL)
    for entry in cache_directory("calibration").glob("*.safetensors"):
        entry.write_bytes(entry.read_bytes()[:100])
    assert not calibrate(source, load_model(source), options(file), ALL).cached
    monkeypatch.setenv("FACTCLI_CACHE", str(file / "not-a-directory"))
    assert not calibrate(source, load_model(source), options(file), ALL).cached


def test_an_untrained_head_is_left_out(tmp_path: Path) -> None:
    """A base checkpoint under the name of a head: random logits say nothing, so hidden states are followed."""
    folder = save_model(tmp_path / "m", head="BertForSequenceClassification")
    source = find_model(str(folder))
    loaded = load_model(source)
    loaded.absent.add("classifier.weight")
    found = calibrate(source, loaded, options(write_csv(tmp_path / "t.csv", rows(8, 0))), ALL)
    base = gather(
        loaded.model.base_model, source.tokenizer,
        load_examples(options(tmp_path / "t.csv"), fit_of(source), source.config, False),
        find_targets(loaded.model.base_model), ALL,
    )  # fmt: skip
    assert_same(found, base)


@pytest.mark.parametrize(
    ("kind", "head", "expected"),
    [
        ("t5", "T5ForConditionalGeneration", "text"),
        ("bart", "BartForConditionalGeneration", "text"),
        ("t5", None, "hidden"),
        ("bert", None, "hidden"),
        ("bert", "BertForPreTraining", "masked"),
    ],
)
def test_what_a_model_predicts(kind: str, head: str | None, expected: str) -> None:
    assert purpose_of(tiny.make(kind, head)).kind == expected


def test_a_discriminator_is_run_without_its_head(tmp_path: Path) -> None:
    """What tells true tokens from replaced ones has no text to predict: its hidden states count, as without a head."""
    model, tok, data = tiny.make("electra", "ElectraForPreTraining"), tokenizer(tmp_path), examples(4)
    assert_same(run(model, tok, data), run(model.base_model, tok, data), 0)


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "GPT2LMHeadModel"), ("bert", "BertForMaskedLM")])
def test_texts_with_nothing_to_predict_count_for_nothing(kind: str, head: str, tmp_path: Path) -> None:
    model, tok = tiny.make(kind, head), tokenizer(tmp_path)
    tok.add_special_tokens({"mask_token": "[UNK]"})
    short = Example((1,) if kind == "gpt2" else (1, 2))
    alone, few = frozenset({Kind.GRADIENTS}), examples(4)
    for batch_tokens in (1, 1000):
        found = tensors(run(model, tok, [*few, short], alone, batch_tokens=batch_tokens))
        for name, value in tensors(run(model, tok, few, alone)).items():
            assert float((found[name] * 5 - value * 4).norm()) <= 1e-5 * float(value.norm()), name


def test_several_numbers_a_text(tmp_path: Path) -> None:
    model = tiny.make("bert", "BertForSequenceClassification", num_labels=3, problem_type="regression")
    tok, data = tokenizer(tmp_path), examples(3)
    assert_same(run(model, tok, data, batch_tokens=1), run(model, tok, data))
    with pytest.raises(FactcliError, match="several numbers"):
        run(model, tok, data, empirical=True)


def test_data_that_leave_directions_out_do_not_make_the_error_imaginary(tmp_path: Path) -> None:
    save_model(tmp_path / "base")
    file = write_csv(tmp_path / "same.csv", [("w1 w2 w3 w4 good", "yes")] * 64)
    for compensation in ("none", "sequential"):
        result = factcli.convert(
            str(tmp_path / "base"), tmp_path / "out", keep=0.7, criterion="activation", calibration=str(file),
            compensation=compensation, overwrite=True,
        )  # fmt: skip
        assert 0 <= json.loads(json.dumps(result))["metric_error"] < 1


def test_impossible_budgets_are_refused_before_the_pass(tmp_path: Path) -> None:
    save_model(tmp_path / "base")
    file = write_csv(tmp_path / "texts.csv", rows(64, 0))  # type: ignore[arg-type]
    for options in ({"keep": 0.0001}, {"keep": 0.5, "method": "monarch", "blocks": 7}):
        with pytest.raises(FactcliError):
            factcli.convert(
                str(tmp_path / "base"), tmp_path / "out", criterion="kfac", allocation="global", calibration=str(file),
                **options,
            )  # fmt: skip
    assert not (tmp_path / "cache").exists()


def test_empirical_without_a_trained_head_says_so(tmp_path: Path) -> None:
    save_model(tmp_path / "base")
    file = write_csv(tmp_path / "texts.csv", rows(64, 0))  # type: ignore[arg-type]
    given = {"keep": 0.5, "criterion": "fisher-rows", "calibration": str(file), "dry_run": True}
    notes = [factcli.convert(str(tmp_path / "base"), fisher=f, **given).get("notes", []) for f in FISHER]
    assert [any("no trained head" in n for n in each) for each in notes] == [False, True]
    with pytest.raises(UsageError, match="'emprical' is unknown"):
        factcli.convert(str(tmp_path / "base"), fisher="emprical", **given)
