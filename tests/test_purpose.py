"""What a model is for, and its vectors, beside what sentence-transformers itself makes of the same files."""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from factcli.errors import FactcliError
from factcli.models.model import find_model
from factcli.models.purpose import EMBEDDING, find_purpose
from factcli.models.usage import Usage, longest_text, read_usage
from factcli.models.vectors import Vectors, find_vectors

from .training_helpers import WORDS, save_model

st = pytest.importorskip("sentence_transformers")
MODES = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
HEADS = {
    "BertForSequenceClassification": "class", "BertForMaskedLM": "masked", "BertForTokenClassification": "token",
    "BertForQuestionAnswering": "span", "BertLMHeadModel": "next",
}  # fmt: skip


def texts(count: int = 7) -> list[str]:
    draw = random.Random(3)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(count)]


def save_embedder(folder: Path, *further: Any, **pooling: Any) -> Any:
    """A tiny embedding model as sentence-transformers saves it; `further` modules follow the pooling."""
    from sentence_transformers.sentence_transformer import modules as of

    transformer = of.Transformer(str(save_model(folder.with_name(f"{folder.name}-base"))), max_seq_length=10)
    model = st.SentenceTransformer(modules=[transformer, of.Pooling(32, **pooling), *further], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return model


def vectors_of(folder: Path, found: Vectors) -> torch.Tensor:
    """As its files say, by transformers and the module under test: a padded batch."""
    batch = AutoTokenizer.from_pretrained(folder)(
        texts(), padding=True, truncation=True, max_length=longest_text(folder) or 10, return_tensors="pt"
    )
    with torch.no_grad():
        return found(AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state, batch["attention_mask"])


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), *combinations(MODES[:3], 2), ("lasttoken", "cls")])
def test_every_pooling(modes: tuple[str, ...], tmp_path: Path) -> None:
    model = save_embedder(tmp_path / "m", pooling_mode=modes)
    found = find_vectors(tmp_path / "m", "m")
    assert found is not None
    assert found.modes == modes
    torch.testing.assert_close(vectors_of(tmp_path / "m", found), torch.tensor(model.encode(texts())))
    assert str(found) == f"{' and '.join(modes)} pooling"


@pytest.mark.parametrize("mode", [*MODES, None])
def test_pooling_as_older_versions_wrote_it(mode: str | None, tmp_path: Path) -> None:
    """A flag a mode; none of them set, or none there, is the mean."""
    save_embedder(tmp_path / "m")
    ends = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    flags = {f"pooling_mode_{ends.get(name, name)}": name == mode for name in MODES}
    flags["pooling_mode_weightedmean_tokens"] = flags.pop("pooling_mode_weightedmean")
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | flags))
    found = find_vectors(tmp_path / "m", "m")
    assert found is not None
    expected = st.SentenceTransformer(str(tmp_path / "m"), device="cpu").encode(texts())
    torch.testing.assert_close(vectors_of(tmp_path / "m", found), torch.tensor(expected))
    assert found.modes == (mode or "mean",)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "ReLU", "GELU"])
@pytest.mark.parametrize("bias", [True, False])
def test_projections_and_normalization(activation: str, bias: bool, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules as of

    torch.manual_seed(0)
    dense = of.Dense(32, 8, bias=bias, activation_function=getattr(torch.nn, activation)())
    model = save_embedder(tmp_path / "m", dense, of.Dense(8, 6), of.Normalize())
    found = find_vectors(tmp_path / "m", "m")
    assert found is not None
    made = vectors_of(tmp_path / "m", found)
    torch.testing.assert_close(made, torch.tensor(model.encode(texts())))
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(len(made)))
    assert str(found) == "mean pooling, a projection, a projection, normalized"
    assert str(find_purpose(find_model(str(tmp_path / "m")))) == f"embeds texts ({found})"


def test_what_follows_is_not_known_of(tmp_path: Path) -> None:
    """No vector of hidden states alone: None; an activation or pooling of others: None as well."""
    from sentence_transformers.sentence_transformer import modules as of

    save_embedder(tmp_path / "m", of.Dense(32, 8, activation_function=torch.nn.Softsign()))
    assert find_vectors(tmp_path / "m", "m") is None
    assert find_purpose(find_model(str(tmp_path / "m"))).kind == "hidden"
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "attention"}')
    assert find_vectors(tmp_path / "m", "m") is None
    entries = json.loads((tmp_path / "m" / "modules.json").read_text())
    (tmp_path / "m" / "modules.json").write_text(json.dumps([e for e in entries if "Pooling" not in e["type"]]))
    assert find_vectors(tmp_path / "m", "m") is None
    assert find_vectors(tmp_path, "m") is None


@pytest.mark.parametrize(
    "broken", ["{", "[1]", '[{"type": "x"}]', '{"a": 1}', '[{"type": "a.Pooling", "path": "1_Pooling"}]', "[null]"]
)
def test_broken_modules_are_said_in_a_sentence(broken: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(broken)
    with pytest.raises(FactcliError, match=r"^The modules that modules\.json of m names cannot be read: .*\.$"):
        find_vectors(tmp_path, "m")


@pytest.mark.parametrize("config", ["[]", '"mean"', "{", "3"])
def test_a_broken_pooling_is_said_in_a_sentence(config: str, tmp_path: Path) -> None:
    save_embedder(tmp_path / "m")
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text(config)
    with pytest.raises(FactcliError, match=r"^The modules that modules\.json of m names cannot be read: .*\.$"):
        find_vectors(tmp_path / "m", "m")


def test_a_pickled_projection_is_refused(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules as of

    save_embedder(tmp_path / "m", of.Dense(32, 8))
    (tmp_path / "m" / "2_Dense" / "model.safetensors").rename(tmp_path / "m" / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(FactcliError, match=r"not in safetensors \(2_Dense\): save it anew"):
        find_vectors(tmp_path / "m", "m")


@pytest.mark.parametrize(("head", "kind"), HEADS.items())
def test_a_head_beside_pooling_that_was_left_there(head: str, kind: str, tmp_path: Path) -> None:
    """One that answers about texts counts, one that fills in words does not."""
    save_embedder(tmp_path / "m")
    save_model(tmp_path / "m", "bert", head)
    found = find_purpose(find_model(str(tmp_path / "m")))
    embeds = kind in ("masked", "next")
    assert (found.kind, found.vectors is not None) == ((EMBEDDING, True) if embeds else (kind, False))
    (tmp_path / "m" / "modules.json").unlink()
    assert find_purpose(find_model(str(tmp_path / "m"))).kind == kind


def test_heads_by_what_they_answer(tmp_path: Path) -> None:
    head = "BertForSequenceClassification"
    for kind, changes in {"number": {"num_labels": 1}, "class": {"num_labels": 3},
                          "labels": {"problem_type": "multi_label_classification"}}.items():  # fmt: skip
        save_model(tmp_path / kind, "bert", head, **changes)
        assert find_purpose(find_model(str(tmp_path / kind))).kind == kind
    save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration")
    assert str(find_purpose(find_model(str(tmp_path / "t5")))) == "answers in words"
    save_model(tmp_path / "choice", "bert", "BertForMultipleChoice")
    with pytest.raises(FactcliError, match="is a BertForMultipleChoice, of which it is not known what it is for"):
        find_purpose(find_model(str(tmp_path / "choice")))


def test_where_texts_are_cut(tmp_path: Path) -> None:
    assert longest_text(tmp_path) is None
    for text, length in {'{"max_seq_length": 10}': 10, '{"max_seq_length": null}': None, "{}": None, "[]": None,
                         "{": None, '{"max_seq_length": -1}': None}.items():  # fmt: skip
        (tmp_path / "sentence_bert_config.json").write_text(text)
        assert longest_text(tmp_path) == length


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage()),
        ({"similarity_fn_name": None, "prompts": {}}, Usage()),
        ({"similarity_fn_name": "dot"}, Usage("dot")),
        ({"prompts": {"query": "q: ", "document": ""}}, Usage(query="q: ")),
        ({"prompts": {"query": "q: ", "passage": "p: ", "document": None}}, Usage(query="q: ", document="p: ")),
        ({"prompts": {"query": "q: ", "sts": "s: "}, "default_prompt_name": "sts"}, Usage(text="s: ", query="q: ")),
    ],
)
def test_prompts_and_similarity(said: dict[str, Any], usage: Usage, tmp_path: Path) -> None:
    assert read_usage(tmp_path, "m") == Usage()
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(said))
    assert read_usage(tmp_path, "m") == usage


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "cannot be read"), ("[]", "is no JSON object"), ('{"prompts": 3}', "has prompts that are not named"),
     ('{"similarity_fn_name": "maxsim"}', "compares its vectors by 'maxsim' .* cosine, dot, euclidean, manhattan")],
)  # fmt: skip
def test_usage_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(text)
    with pytest.raises(FactcliError, match=said):
        read_usage(tmp_path, "m")
