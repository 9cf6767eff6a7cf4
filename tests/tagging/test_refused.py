"""What cannot be tagged, or learnt from: one sentence, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertForTokenClassification, ByT5Tokenizer

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.training.distillation import Weights, distillation_loss

from .. import tiny
from ..vocabulary import made
from .data import COLUMNS, FAST, TAGS, Row, files, save, sentences, write


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a base model and taggers that were not trained: one that names its tags, one that does not."""
    folder = save(tmp_path_factory.mktemp("refused"))
    for name, tags in (("tagger", TAGS), ("unnamed", [f"LABEL_{i}" for i in range(5)]), ("three", ["O", "B-A", "I-A"])):
        tokenizer = made.word_piece()
        tokenizer.save_pretrained(folder / name)
        model = tiny.make("bert", "BertForTokenClassification", vocab_size=len(tokenizer), num_labels=len(tags))
        model.config.id2label = dict(enumerate(tags))
        model.config.label2id = {n: i for i, n in enumerate(tags)}
        model.save_pretrained(folder / name)
    made.save("bert", "BertForSequenceClassification", folder / "classifier")
    return folder


WORDS = (["river", "garden"], ["B-PER", "O"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([WORDS, (["river", "garden"], ["O"])], "Row 2 of .* has 2 words in column 'tokens' and 1 tag in column 'ner_"),
        ([WORDS, (["river"], ["O", "O"])], "Row 2 of .* has 1 word in column .* and 2 tags .* one tag for each word"),
        ([WORDS, ([], [])], "Row 2 of .* has no words in column 'tokens': fill it in or leave such rows out"),
        ([WORDS, (["a", 3], ["O", "O"])], "Row 2 of .* has a number among the words of column 'tokens'"),
        ([WORDS, (["a", None], ["O", "O"])], "Row 2 of .* has nothing among the words of column 'tokens'"),
        ([WORDS, (["a", ["b"]], ["O", "O"])], "Row 2 of .* has a list among the words"),
        ([WORDS, ("a b", ["O", "O"])], "Row 2 of .* has a text in column 'tokens', not a list of words"),
        ([WORDS, (None, ["O", "O"])], "Row 2 of .* has nothing in column 'tokens', not a list of words"),
        ([WORDS, (["a"], None)], "Row 2 of .* has no label in column 'ner_tags'"),
        ([WORDS, (["a", "b"], ["O", None])], "Row 2 of .* has no label in column 'ner_tags'"),
        ([WORDS, (["a"], "O")], "Row 2 of .* has 'O' in column 'ner_tags' where others have a list"),
        ([(["a"], "O"), (["b"], "B-A")], "has no lists in column 'ner_tags', but every word needs a tag"),
        ([WORDS, (["a"], ["X-PER"])], "Column 'ner_tags' of .* has the tag 'X-PER', which is of no known scheme"),
        ([WORDS, (["a"], ["I-"])], "has the tag 'I-', which is of no known scheme"),
        ([WORDS, (["a"], ["LOC"])], "has the tag 'LOC', which is of no known scheme"),
        ([WORDS, (["a"], ["b-per"])], "Row 2 of .* has the label 'b-per', row 1 has 'B-PER': write them alike"),
        ([(["a"], [0]), (["b"], [1])], r"has ids in column 'ner_tags' \(0, 1\) .* give --label-names"),
        ([(["a"], ["0"]), (["b"], ["-100"])], "no names for them: give --label-names"),
        ([(["a"], ["O"]), (["b"], ["O"])], "one class only"),
        ([WORDS, (["\u200b"], ["O"])], "Row 2 of the training data of d has no word of which a token is read"),
    ],
)  # fmt: skip
def test_data(rows: list[Row], said: str, place: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(FactcliError, match=said):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", train=file, validation=file, max_steps=1, **COLUMNS, **FAST,
        )  # fmt: skip
    assert {f.name for f in tmp_path.iterdir()} == {"d.jsonl"}


def test_data_of_one_kind_only(place: Path, tmp_path: Path) -> None:
    """What the validation file has that the training file has not."""
    other = write(tmp_path / "v.jsonl", [(["a"], ["O"]), (["a"], ["B-ORG"])])
    given = files(place, max_steps=1)
    with pytest.raises(
        FactcliError, match=r"the label 'B-ORG'; the known labels are B-LOC, .* name every tag with --lab"
    ):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given | {"validation": other})
    texts = write(tmp_path / "t.jsonl", [("a b", "yes"), ("c d", "no")])
    with pytest.raises(FactcliError, match=r"Row 1 of .*t.jsonl has a text in column 'tokens', not a list of words"):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given | {"validation": texts})
    with pytest.raises(FactcliError, match=r"Row 1 of .* has a list in column 'tokens', not text"):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given | {"train": texts})
    bare = write(tmp_path / "b.jsonl", [(["a"], "O"), (["b"], "B-PER")])  # type: ignore[list-item]
    with pytest.raises(FactcliError, match="no lists in column 'ner_tags', but every word needs a tag: write a list"):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given | {"validation": bare})
    csv = tmp_path / "c.csv"
    csv.write_text("tokens,ner_tags\n\"['a', 'b']\",\"['O', 'B-A']\"\n\"['a']\",\"['O']\"\n")
    with pytest.raises(FactcliError, match="which a csv keeps as texts: write them to a jsonl or parquet file"):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given | {"train": csv})


def test_pairs(place: Path, tmp_path: Path) -> None:
    rows = [(words, words, tags) for words, tags in sentences(9, 1)]
    file = write(tmp_path / "p.jsonl", rows, ("tokens", "more", "ner_tags"))  # type: ignore[arg-type]
    given = files(place, train=file, text_column=("tokens", "more"))
    with pytest.raises(UsageError, match="not tagged in pairs: give --text-column once"):
        factcli.finetune(str(place / "base"), tmp_path / "out", **given)


def test_heads(place: Path, tmp_path: Path) -> None:
    given = files(place, max_steps=1)
    with pytest.raises(FactcliError, match=r"has a head for 3 labels \(O, B-A, I-A\) but train has 5 .* --new-head"):
        factcli.finetune(str(place / "three"), tmp_path / "out", **given)
    made_anew = factcli.finetune(str(place / "three"), tmp_path / "new", new_head=True, **given)
    assert made_anew["metrics"].keys() == {"f1", "precision", "recall", "accuracy"}
    ids = write(tmp_path / "ids.jsonl", [(["a", "b", "c"], [0, 1, 2]), (["a"], [7])])
    with pytest.raises(FactcliError, match=r"Row 2 of .* has the label '7'; the known labels are O, B-A, I-A"):
        factcli.finetune(str(place / "three"), tmp_path / "out", **given | {"train": ids, "validation": ids})
    with pytest.raises(FactcliError, match="no names for them: give --label-names"):
        factcli.finetune(str(place / "three"), tmp_path / "out", **given | {"train": ids}, new_head=True)
    with pytest.raises(FactcliError, match=r"bart.* has no token-classification head in transformers"):
        factcli.finetune(str(made.save("bart", None, tmp_path / "bart")), tmp_path / "out", **given)
    t5 = made.save("t5", "T5ForConditionalGeneration", tmp_path / "t5")
    with pytest.raises(UsageError, match="has a tag for each word, which is not answered in words"):
        factcli.finetune(str(t5), tmp_path / "out", text_to_text=True, **given)
    with pytest.raises(UsageError, match="--label-names O,O gives a label twice"):
        factcli.finetune(str(place / "base"), tmp_path / "out", label_names=("O", "O"), **given)
    assert not (tmp_path / "out").exists()


def test_teachers(place: Path, tmp_path: Path) -> None:
    for teacher, said in (
        ("classifier", "has no tagging head: fine-tune it on train first"),
        ("three", "has a head for 3 labels, the student for 5"),
    ):
        with pytest.raises(FactcliError, match=said):
            factcli.finetune(
                str(place / "base"), tmp_path / "out", teacher=str(place / teacher), **files(place, max_steps=1)
            )
    assert not (tmp_path / "out").exists()


def test_fisher_of_labels(place: Path, tmp_path: Path) -> None:
    for more in ({}, {"calibration": str(place / "train.jsonl")}):
        with pytest.raises(FactcliError, match="cannot read a label for each token: take --fisher sampled"):
            factcli.finetune(
                str(place / "tagger"), tmp_path / "out", keep=0.5, criterion="fisher-rows", fisher="empirical",
                schedule="direct", **files(place, max_steps=1), **more,
            )  # fmt: skip


def test_a_slow_tokenizer(place: Path, tmp_path: Path) -> None:
    tokenizer = ByT5Tokenizer()
    tiny.make("bert", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "slow")
    tokenizer.save_pretrained(tmp_path / "slow")
    with pytest.raises(FactcliError, match="does not say which token is of which word"):
        factcli.finetune(str(tmp_path / "slow"), tmp_path / "out", **files(place, max_steps=1))
    assert not (tmp_path / "out").exists()


def test_eval(place: Path, tmp_path: Path) -> None:
    def measured(name: str, file: Path = place / "val.jsonl", **more: Any) -> Any:
        return factcli.evaluate(str(place / name), validation=file, label_column="ner_tags", **more)

    assert measured("tagger")[0]["examples"] == 40
    with pytest.raises(FactcliError, match="unnamed does not name its tags: give --label-names with the tags in the"):
        measured("unnamed")
    named = measured("unnamed", label_names=TAGS)[0]
    assert named["metrics"] == measured("tagger")[0]["metrics"]  # the same weights
    with pytest.raises(FactcliError, match="tagger has 5 outputs and --label-names names 2 tags"):
        measured("tagger", label_names=("O", "B-A"))
    with pytest.raises(FactcliError, match=r"has the label 'B-PER'; the known labels are O, B-A, I-A: give --label-na"):
        measured("three")
    with pytest.raises(FactcliError, match=r"classifier has no trained head for tags of words \(BertForSequenceCl"):
        measured("classifier")
    with pytest.raises(FactcliError, match=r"base embeds texts and has no trained head"):
        measured("base")
    texts = write(tmp_path / "t.jsonl", [("a b", "yes"), ("c d", "no")])
    with pytest.raises(FactcliError, match=r"tagger tags words, and .*t.jsonl has texts in column 'tokens'"):
        measured("tagger", texts)
    with pytest.raises(FactcliError, match=r"has no trained head for classification \(BertForTokenCl"):
        factcli.evaluate(str(place / "tagger"), task="sst2", data_dir=glue(tmp_path))


def glue(folder: Path) -> Path:
    from ..training_helpers import write_glue

    return write_glue(folder / "glue", "sst2", 8, 8)


def test_the_loss_of_a_teacher() -> None:
    """Kullback-Leibler divergence for each scored token, the mean over these, whatever stands at the others."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    scored = torch.tensor([[False, True, False, True], [False, True, False, False]])
    p, q = ((x[scored] / 2).softmax(-1) for x in (teacher, student))
    expected = 4 * (p * (p / q).log()).sum(-1).mean()

    class Output:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits, self.loss = logits, torch.tensor(7.0)

    weights = Weights(hidden=0.0, label=0.5)
    found = distillation_loss(Output(student), Output(teacher), torch.ones(2, 4), weights, False, scored=scored)
    torch.testing.assert_close(found, 3.5 + expected)
    student[~scored] += 5 * torch.randn(5, 3)
    again = distillation_loss(Output(student), Output(teacher), torch.ones(2, 4), weights, False, scored=scored)
    torch.testing.assert_close(again, found)


def test_the_head_learns_at_first_tokens_alone(place: Path) -> None:
    """The loss of a batch is the mean cross-entropy of the first token of each word."""
    from factcli.data.alignment import encode_words, token_targets
    from factcli.models.fit import find_fit

    tokenizer = AutoTokenizer.from_pretrained(place / "tagger")
    model = BertForTokenClassification.from_pretrained(place / "tagger").eval()
    fit = find_fit(model, tokenizer, "m")
    words, tags = [["rivering", "garden"], ["castleness"]], [[1, 4], [0]]
    features = encode_words(fit, words, 30)
    for feature, row in zip(features, tags, strict=True):
        feature["labels"] = token_targets(feature, row)
    with torch.no_grad():
        found = model(**fit.batch(features)).loss
        logits = []
        for row in words:
            batch = tokenizer(row, is_split_into_words=True, return_tensors="pt")
            ids = batch.word_ids(0)
            logits += [model(**batch).logits[0, ids.index(i)] for i in range(len(row))]
    expected = torch.nn.functional.cross_entropy(torch.stack(logits), torch.tensor([1, 4, 0]))
    torch.testing.assert_close(found, expected)
