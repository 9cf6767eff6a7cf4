"""What a model is for: what its head predicts, or the vectors that it makes."""

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from ..errors import FactcliError, UsageError
from ..remote_code.configuration_factorized import PREFIX
from .loading import Loaded
from .model import Model
from .vectors import Vectors, find_vectors

EMBEDDING, HIDDEN = "embedding", "hidden"
DISCRIMINATORS = ("ElectraForPreTraining", "FunnelForPreTraining")  # they tell true tokens from replaced ones
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
    if name in DISCRIMINATORS:
        return HIDDEN
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


def decodes(model_class: type[PreTrainedModel]) -> bool:
    """Whether a model has a decoder beside its encoder. By its class: configurations of encoders alone (T5EncoderModel)
    are published that say so of the whole."""
    return "decoder_input_ids" in inspect.signature(model_class.forward).parameters


def gives_probability(config: Any) -> bool | None:
    """Whether the one output of a cross-encoder goes through a sigmoid, as sentence-transformers wrote it into the
    configuration; None where nothing says so, nor that it is a number."""
    said = (getattr(config, "sentence_transformers", None) or {}).get("activation_fn")
    if said:
        return str(said).endswith("Sigmoid")
    return None if getattr(config, "problem_type", None) is None else False


def purpose_of(model: PreTrainedModel) -> Purpose:
    """By its class alone. Raises FactcliError for a model of which nothing can be learnt from text alone."""
    kind = head_of(_name(model), model.config)
    if kind is None and model is not model.base_model:
        raise FactcliError(
            f"No loss can be formed for {type(model).__name__} from text alone: take a criterion without gradients "
            "(activation), or convert its base model or another head."
        )
    return Purpose(kind or HIDDEN)


def _name(model: PreTrainedModel) -> str:
    """Of its class, as transformers has it."""
    return type(model).__name__.removeprefix(PREFIX)


def untrained_head(loaded: Loaded) -> bool:
    """Whether a loaded model has a head of which its files know nothing."""
    model = loaded.model
    prefix = f"{model.base_model_prefix}."
    return model is not model.base_model and any(not name.startswith(prefix) for name in loaded.absent)


def find_purpose(source: Model) -> Purpose:
    """What the files of a source say. A head that answers about texts counts before a pooling that was left beside it
    when it was trained; one that fills in words, or was never trained, does not.

    Raises FactcliError as `find_vectors`, and for a head of which nothing is known.
    """
    model = source.outline.model
    if head_of(_name(model), model.config) is None and model is not model.base_model:
        raise FactcliError(f"{source.name} is a {_name(model)}, of which it is not known what it is for.")
    found = _own(source.outline)
    if found.kind in (HIDDEN, "masked", "next"):
        vectors = find_vectors(source.path, source.name)
        if vectors is not None:
            return Purpose(EMBEDDING, vectors)
    return found


def described_purpose(source: Model) -> str | None:
    """What a model is for, in words; None where nothing is known of its head."""
    try:
        return str(find_purpose(source))
    except FactcliError:
        return None


def _own(loaded: Loaded) -> Purpose:
    """By the class and a head that was trained."""
    return Purpose(HIDDEN) if untrained_head(loaded) else purpose_of(loaded.model)


def chosen_purpose(source: Model, asked: str | None, loaded: Loaded) -> Purpose:
    """What gradients are of: what the head predicts, or hidden states, unless another kind is `asked` for. Vectors are
    not chosen unasked: they keep more of the similarities of texts like those of the calibration, and less where a
    question is compared with a passage. Raises UsageError for what a model cannot have."""
    if asked == HIDDEN:
        return Purpose(HIDDEN)
    if asked == EMBEDDING:
        return Purpose(EMBEDDING, find_vectors(source.path, source.name) or Vectors())
    own = _own(loaded)
    if asked is None:
        pooled = own.kind in ("masked", "next") and find_vectors(source.path, source.name) is not None
        return Purpose(HIDDEN) if pooled else own
    if asked != own.kind:
        kinds = ", ".join(dict.fromkeys([own.kind, EMBEDDING, HIDDEN]))
        raise UsageError(f"{source.name} {own}: --objective {asked} is not for it; take one of {kinds}.")
    return own


def answers(purpose: Purpose, output: Any, mask: Tensor) -> Tensor:
    """What counts of the output of a model for a batch: vectors (B, k), the last hidden states (B, T, d), for which it
    has to have `wanted`, or logits (B, K), of a tagger (B, T, K)."""
    if purpose.kind == EMBEDDING:
        assert purpose.vectors is not None
        return purpose.vectors(output[0].float(), mask)
    found: Tensor = output.hidden_states[-1] if purpose.kind == HIDDEN else output.logits
    return found.float()


def wanted(purpose: Purpose) -> dict[str, bool]:
    """What else `answers` needs of a forward pass."""
    return {"output_hidden_states": True} if purpose.kind == HIDDEN else {}
