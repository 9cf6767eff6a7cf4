"""What a model is for: what its head predicts, or the vectors that it makes."""

from dataclasses import dataclass
from typing import Any

from ..errors import FactcliError
from ..remote_code.configuration_factorized import PREFIX
from .model import Model
from .vectors import Vectors, find_vectors

EMBEDDING, HIDDEN = "embedding", "hidden"
_WORDS = {
    "class": "classifies texts",
    "labels": "gives texts any number of labels",
    "number": "scores texts",
    "token": "tags tokens",
    "masked": "fills in masked tokens",
    "next": "predicts the next token",
    "text": "answers in words",
    "span": "finds answers in texts",
    HIDDEN: "has no head and no pooling: its hidden states are what counts",
}


@dataclass(frozen=True)
class Purpose:
    """`kind` is "embedding" (of texts, by `vectors`), "class", "number", "labels" (any number of them), "token",
    "masked", "next" (causal), "text" (an encoder-decoder's), "span", or "hidden" (a model without a head)."""

    kind: str
    vectors: Vectors | None = None

    def __str__(self) -> str:
        return f"embeds texts ({self.vectors})" if self.vectors is not None else _WORDS[self.kind]


def head_of(name: str, config: Any) -> str | None:
    """What the head of a class of transformers predicts; None where that is not known of it."""
    problem = getattr(config, "problem_type", None) or ("regression" if config.num_labels == 1 else "")
    kinds = {
        "ForSequenceClassification": {"regression": "number", "multi_label_classification": "labels"}.get(
            problem, "class"
        ),
        "ForTokenClassification": "token",
        "ForMaskedLM": "masked",
        "ForPreTraining": "masked",
        "ForCausalLM": "next",
        "LMHeadModel": "next",
        "ForConditionalGeneration": "text",
        "ForQuestionAnswering": "span",
    }
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)


def find_purpose(source: Model) -> Purpose:
    """What the files of a source say. A head that answers about texts counts before a pooling that was left beside it
    when it was trained; one that fills in words does not.

    Raises FactcliError as `find_vectors`, and for a head that nothing is known of.
    """
    name = source.model_class.__name__.removeprefix(PREFIX)
    kind = head_of(name, source.config)
    if kind in (None, "masked", "next"):
        vectors = find_vectors(source.path, source.name)
        if vectors is not None:
            return Purpose(EMBEDDING, vectors)
    if kind is None and "For" in name.removesuffix("Model"):
        raise FactcliError(f"{source.name} is a {name}, of which it is not known what it is for.")
    return Purpose(kind or HIDDEN)
