"""Schemes, and the scores of spans against a count of their own."""

import random
from itertools import chain

import numpy as np
import pytest
from sklearn import metrics as sk

from factcli.data.schemes import marks_spans
from factcli.data.tasks import SPANS, TAGGING, Task
from factcli.errors import FactcliError
from factcli.models.fit import WORDS
from factcli.scores.metrics import compute_metrics, is_failed, majority_score

from .data import bioes, sentences
from .spans import scores

SCHEMES = {"iob2": "BI", "bioes": "BIES", "bilou": "BILU", "iob1": "I"}


def ordered(scheme: str) -> tuple[str, ...]:
    return ("O", *(f"{p}-{kind}" for kind in ("PER", "LOC") for p in SCHEMES[scheme]))


def task_of(labels: tuple[str, ...], metrics: tuple[str, ...] = SPANS) -> Task:
    return Task("t", ("tokens",), labels, metrics, "tags", TAGGING)


def measured(task: Task, true: list[list[str]], answers: list[list[str | None]]) -> dict[str, float]:
    """Of answers by name; None where a word was not read."""
    features = [{WORDS: [-1 if a is None else 0 for a in row]} for row in answers]
    labels = np.array([task.labels.index(t) for row in true for t in row])
    read = np.array([task.labels.index(a) for row in answers for a in row if a is not None])
    return compute_metrics(task, labels, read, features)


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_spans_are_counted_as_here(scheme: str) -> None:
    """Of answers that are right, of random ones (with spans that no scheme allows), and of words that are not read."""
    draw, task = random.Random(3), task_of(ordered(scheme))
    rows = [tags for _, tags in sentences(60, 5)]
    if scheme in ("bioes", "bilou"):
        rows = [bioes(tags, "BIES" if scheme == "bioes" else "BILU") for tags in rows]
    elif scheme == "iob1":
        rows = [[tag.replace("B-", "I-") for tag in tags] for tags in rows]
    assert measured(task, rows, [list(r) for r in rows]) == dict.fromkeys(SPANS, 1.0)
    for share in (0.1, 0.5, 1.0):
        noisy: list[list[str | None]] = [
            [draw.choice(task.labels) if draw.random() < share else tag for tag in tags] for tags in rows
        ]
        assert measured(task, rows, noisy) == pytest.approx(scores(rows, noisy))  # type: ignore[arg-type]
    unread: list[list[str | None]] = [[*tags[:-2], None, None] for tags in rows]
    outside = [[tag or "O" for tag in tags] for tags in unread]
    assert measured(task, rows, unread) == pytest.approx(scores(rows, outside))
    assert list(measured(task, rows, unread)) == ["f1", "precision", "recall", "accuracy"]


def test_spans_do_not_reach_over_sentences() -> None:
    task = task_of(("O", "B-A", "I-A"))
    assert measured(task, [["B-A"], ["I-A"]], [["B-A"], ["I-A"]])["f1"] == 1.0
    assert measured(task, [["B-A"], ["O"]], [["B-A"], ["I-A"]]) == pytest.approx(
        {"f1": 2 / 3, "precision": 0.5, "recall": 1.0, "accuracy": 0.5}
    )


def test_plain_tags_are_classes_of_words() -> None:
    draw = random.Random(1)
    labels = ("DET", "NOUN", "VERB")
    true = [[draw.choice(labels) for _ in range(6)] for _ in range(30)]
    answers: list[list[str | None]] = [[draw.choice((tag, *labels)) for tag in row] for row in true]
    flat = [list(chain(*rows)) for rows in (true, answers)]
    task = task_of(labels, ("accuracy", "macro_f1"))
    assert measured(task, true, answers) == {
        "accuracy": sk.accuracy_score(*flat), "macro_f1": pytest.approx(sk.f1_score(*flat, average="macro")),
    }  # fmt: skip
    cut: list[list[str | None]] = [[None, *row[1:]] for row in true]  # an unread word is wrong, and no class
    expected = np.mean([sk.f1_score([t == c for t in flat[0]], [a == c for a in chain(*cut)]) for c in labels])
    assert measured(task, true, cut) == {"accuracy": pytest.approx(5 / 6), "macro_f1": pytest.approx(expected)}


def test_what_a_run_must_beat() -> None:
    task = task_of(("O", "B-A", "I-A"))
    true = [["O", "O", "O", "B-A", "I-A"]]
    labels = np.array([0, 0, 0, 1, 2])
    majority = majority_score(task, labels)
    assert majority == pytest.approx(0.6)
    assert majority_score(task, labels, np.array([1, 1, 0])) == pytest.approx(0.2)
    for answers, failed in (
        (["O", "O", "O", "O", "O"], True),
        (["O", "O", "O", "B-A", "O"], True),  # more words right than by always O, but no span
        (["O", "O", "O", "B-A", "I-A"], False),
        (["B-A", "B-A", "B-A", "B-A", "I-A"], True),  # a span right, but fewer words than by always O
    ):
        assert is_failed(task, measured(task, true, [list(answers)]), majority) == failed


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-PER I-PER", True), ("B-PER", True), ("O B-A I-A E-A S-A", True), ("O B-A I-A L-A U-A", True),
        ("O I-PER", True), ("O B-A-B I-A-B", True), ("O B I", True), ("B I O E S", True), ("O PER LOC", False),
        ("DET NOUN O", False), ("NN NNS -LRB- X HYPH", False), ("A- C- Ne Px", False), ("B S N V O ^", False),
        ("O", False),
    ],
)  # fmt: skip
def test_schemes(tags: str, spans: bool) -> None:
    assert marks_spans(tags.split(), "it") == spans


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("O X-PER", "the tag 'X-PER', which is of no known scheme"),
        ("X-PER Y-LOC", "'X-PER', which is of no known scheme"),
        ("O B-PER I-", "'I-', which is of no known scheme"),
        ("O I-", "'I-', which is of no known scheme"),
        ("O B-PER LOC", "'LOC', which is of no known scheme"),
        ("B-PER I-PER NOUN", "'NOUN', which is of no known scheme"),
        ("O B-A E-A L-A", r"two schemes \(E-, L-\)"),
    ],
)
def test_no_schemes(tags: str, said: str) -> None:
    with pytest.raises(FactcliError, match=said):
        marks_spans(tags.split(), "it")
