"""What a model and its tokenizer can take together: lengths, token ids, token types, padding."""

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from ..errors import FactcliError
from ..notes import note

# Of one example: input_ids, token_type_ids where the model takes them, WORDS of a tagger, labels in training.
Features = dict[str, Any]

LENGTH = 128  # tokens of an example where nobody says
IGNORED = -100  # a label that the loss leaves out
WORDS = "words"  # at which token each word of an example begins, -1 for one of which there is none
_TABLES = ("position_embeddings", "char_position_embeddings", "embed_positions", "positions_embed", "wpe")
_UNLIMITED = 10**6  # what tokenizers say for "no maximum" is far above
# Their classifiers read the state of the end token, of which every text of a batch must have as many.
_AT_THE_END = ("bart", "bigbird_pegasus", "led", "mbart", "mt5", "mvp", "plbart", "t5", "umt5")


@dataclass(frozen=True)
class Limit:
    """The tokens of an example; `why` says what made them fewer than usual."""

    tokens: int
    why: str = ""

    def say(self, features: Sequence[Features]) -> None:
        """A note where texts reach a limit that nobody asked for."""
        if self.why and any(len(f["input_ids"]) >= self.tokens for f in features):
            note(f"{self.why}: longer texts are cut at {self.tokens} tokens.")


@dataclass(frozen=True)
class Fit:
    """A model and its tokenizer.

    `positions` are the tokens that have a position (None: as many as one likes), `absolute` says that they come from a
    table; `rows` are those of the input embedding, `types` those of the token types' (0: it takes none, None: any).
    `masked` says that the model can leave out padding, `decoder` that it reads from left to right, `side` where it
    expects padding and `pad_id` what that is. `end` is the token at which a classifier with a decoder looks.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    positions: int | None
    absolute: bool
    rows: int | None
    types: int | None
    masked: bool
    decoder: bool
    side: str
    pad_id: int
    end: int | None

    def limit(self, asked: int | None, pair: bool, option: str = "--max-length", trained: int | None = None) -> Limit:
        """The length at which texts (or pairs of them) are cut: as `asked`, or as the model was `trained`, or LENGTH;
        where nobody asked, no longer than fits.

        Raises FactcliError where `asked` does not fit, and where no room is left for a text.
        """
        added = int(self.tokenizer.num_special_tokens_to_add(pair=pair))
        if asked is not None:
            check_length(self.name, self.positions, asked, option)
            if asked <= added:
                raise FactcliError(
                    f"{option} {asked} leaves no room for text: the tokenizer of {self.name} adds {added} tokens of "
                    f"its own to {'a pair' if pair else 'each'}; give at least {added + 1}."
                )
            return Limit(asked)
        found = Limit(trained or LENGTH)
        said = self.tokenizer.model_max_length
        if trained is None and said is not None and added < said < min(found.tokens, _UNLIMITED):
            found = Limit(int(said), f"The tokenizer of {self.name} has a model_max_length of {said}")
        if self.positions is not None and self.positions < found.tokens:
            found = Limit(self.positions, f"{self.name} has {self.positions} positions")
        if found.tokens <= added:
            raise FactcliError(
                f"{self.name} takes {found.tokens} tokens, of which its tokenizer adds {added} to "
                f"{'a pair' if pair else 'each text'}: no room is left for text; take the tokenizer that belongs to it."
            )
        return found

    def features(self, encoded: Any, count: int) -> list[Features]:
        """What the model takes of a tokenizer's output for `count` texts, one entry each.

        Raises FactcliError for a token that the model's embedding does not have.
        """
        ids, types = encoded["input_ids"], encoded.get("token_type_ids")
        self.check_ids(ids)
        if types is not None and self.types is not None:
            highest = max((max(t, default=0) for t in types), default=0)
            if self.types and highest >= self.types > 1:
                note(
                    f"{self.name} has {self.types} token types, its tokenizer gives type {highest}: they are left out."
                )
            if highest >= self.types:  # none at all, or RoBERTa's one: all texts are of type 0
                types = None
        made = [{"input_ids": list(ids[i])} for i in range(count)]
        for i in range(count) if types is not None else ():
            made[i]["token_type_ids"] = list(types[i])
        return made

    def check_ids(self, ids: Sequence[Sequence[int]]) -> None:
        """Raises FactcliError for an id beyond the embedding."""
        highest = max((max(row, default=0) for row in ids), default=0)
        if self.rows is not None and highest >= self.rows:
            token = self.tokenizer.convert_ids_to_tokens(highest)
            raise FactcliError(
                f"The tokenizer of {self.name} reads {token!r} as token {highest}, but the model's embedding has "
                f"{self.rows} rows: take the tokenizer that belongs to it, or give it more with "
                "resize_token_embeddings."
            )

    def fill_empty(self, features: Sequence[Features]) -> None:
        """Give texts without any token (such as "" where a tokenizer adds none) one special token, so that they can be
        read; a note says so."""
        empty = [f for f in features if not f["input_ids"]]
        if not empty:
            return
        filler = next(i for i in (*_special_ids(self.tokenizer), 0) if self.has(i))
        for feature in empty:
            feature["input_ids"] = [filler]
            if "token_type_ids" in feature:
                feature["token_type_ids"] = [0]
        shown = self.tokenizer.convert_ids_to_tokens(filler)
        many = "1 text has no token and is" if len(empty) == 1 else f"{len(empty)} texts have no token and are"
        note(f"{many} read as {shown!r} by {self.name}.")

    def kind(self, ids: Sequence[int], padded: bool = False) -> tuple[int, int]:
        """What has to be the same of all texts of a batch: the length, unless they can be `padded`, and how often the
        token occurs at which the classifier looks."""
        return 0 if padded and self.pads else len(ids), 0 if self.end is None else ids.count(self.end)

    def check_ends(self, features: Sequence[Features], alike: bool) -> None:
        """Raises FactcliError for a classifier that looks for an end token that texts lack or, where they have to be
        `alike` (in batches of any texts), have more often than others."""
        if self.end is None:
            return
        token = self.tokenizer.convert_ids_to_tokens(self.end)
        counts = [f["input_ids"].count(self.end) for f in features]
        if 0 in counts:
            raise FactcliError(
                f"{self.name} classifies by the end token {token!r} ({self.end}), which its tokenizer does not put "
                f"behind example {counts.index(0) + 1}: take the tokenizer that belongs to it."
            )
        usual = Counter(counts).most_common(1)[0][0] if counts else 0
        if alike and any(c != usual for c in counts):
            row = next(i for i, c in enumerate(counts, 1) if c != usual)
            raise FactcliError(
                f"Example {row} of the training data holds the end token {token!r} {counts[row - 1]} times, the others "
                f"{usual} times: {self.name} classifies by it, so take it out of the text."
            )

    def batch(self, features: Sequence[Features], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Tensors (B, T) of examples, padded where their lengths differ; `labels` (B,) or, of lists, (B, L)."""
        length = max(len(f["input_ids"]) for f in features)

        def rows(values: Sequence[list[int]], fill: int, length: int, side: str) -> Tensor:
            made = torch.full((len(values), length), fill, dtype=torch.long)
            for row, items in enumerate(values):
                start = length - len(items) if side == "left" else 0
                made[row, start : start + len(items)] = torch.tensor(items, dtype=torch.long)
            return made

        ids = [f["input_ids"] for f in features]
        tensors = {"input_ids": rows(ids, self.pad_id, length, self.side)}
        if self.masked:
            tensors["attention_mask"] = rows([[1] * len(i) for i in ids], 0, length, self.side)
        if "token_type_ids" in features[0]:
            tensors["token_type_ids"] = rows([f["token_type_ids"] for f in features], 0, length, self.side)
        if "labels" in features[0]:
            labels = [f["labels"] for f in features]
            if isinstance(labels[0], list) and not any(isinstance(v, float) for v in labels[0]):
                side = self.side if WORDS in features[0] else "right"
                tensors["labels"] = rows(labels, IGNORED, max(map(len, labels)), side)
            else:
                tensors["labels"] = torch.tensor(labels)
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    @property
    def pads(self) -> bool:
        """Whether what stands behind the shorter texts of a batch can be left out, by a mask."""
        return self.masked and self.side == "right"

    def teach_padding(self) -> dict[str, Any]:
        """Make the tokenizer pad with `pad_id`, which it may lack or have beyond the model's embedding, and on a side
        on which the model reads what it reads alone. Returns what that changes in tokenizer_config.json."""
        tokenizer, changes = self.tokenizer, {}
        if not self.has(tokenizer.pad_token_id):
            known = (self.pad_id, *_special_ids(tokenizer), 0)
            token = tokenizer.convert_ids_to_tokens(next(i for i in known if self.has(i) and i < len(tokenizer)))
            lacks = f"The tokenizer of {self.name} has no padding token"
            if tokenizer.pad_token_id is not None:
                lacks = (
                    f"The padding token of {self.name}, {tokenizer.pad_token!r}, is token {tokenizer.pad_token_id}, "
                    f"but the model's embedding has {self.rows} rows"
                )
            note(f"{lacks}: {token!r} takes its place.")
            tokenizer.pad_token = changes["pad_token"] = token
        matters = self.side == "left" or self.absolute or not self.decoder
        if tokenizer.padding_side != self.side and matters:
            note(
                f"The tokenizer of {self.name} pads on the {tokenizer.padding_side}, where the model would read a text "
                f"otherwise than alone: it is saved with padding on the {self.side}."
            )
            tokenizer.padding_side = changes["padding_side"] = self.side
        return changes

    @contextmanager
    def unpadded(self, model: PreTrainedModel) -> Iterator[None]:
        """While the body runs on batches of equally long texts, a classifier whose configuration names no padding token
        (or none that there is) answers as it does for a text alone, where it looks at the last token."""
        config = model.config.get_text_config()
        before = config.pad_token_id
        if not self.has(before):
            config.pad_token_id = self.rows if self.decoder else self.pad_id  # the former occurs in no text
        try:
            yield
        finally:
            config.pad_token_id = before

    def has(self, token: int | None) -> bool:
        """Whether the model's embedding has the token."""
        return token is not None and 0 <= token < (self.rows or token + 1)


def find_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, text_to_text: bool = False) -> Fit:
    """What `model` (which may be on the meta device) and `tokenizer` can take together; `name` is for messages. With
    `text_to_text` a decoder reads the answers, not the text."""
    config = model.config.get_text_config()
    kind = config.model_type.removeprefix("factorized_")
    rows = embedding_rows(model)
    limit, absolute = _positions(model, text_to_text)
    decoder = not model.config.is_encoder_decoder and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    at_end = type(model).__name__.endswith("ForSequenceClassification") and kind in _AT_THE_END
    end = config.eos_token_id
    return Fit(
        name, tokenizer, limit, absolute, rows,
        types=_token_types(model), masked=_takes(model, "attention_mask"), decoder=decoder,
        side="left" if getattr(config, "summary_type", None) == "last" and limit is None else "right",
        pad_id=_pad_id(tokenizer, config.pad_token_id, rows, decoder),
        end=end if at_end and isinstance(end, int) else None,
    )  # fmt: skip


def check_length(name: str, positions: int | None, asked: int, option: str) -> None:
    """Raises FactcliError where a model has fewer positions than `option` asks for."""
    if positions is not None and asked > positions:
        raise FactcliError(f"{name} has {positions} positions: {option} {asked} is too long for it.")


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens of an input have a position; None where positions are relative."""
    return _positions(model)[0]


def embedding_rows(model: PreTrainedModel) -> int | None:
    """The token ids that a model can read; None where they do not come from one table."""
    try:
        weight = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        return None
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.dim() == 2 else None


def _positions(model: PreTrainedModel, text_to_text: bool = False) -> tuple[int | None, bool]:
    """How many there are, and whether they come from a table."""
    config = model.config.get_text_config()
    tables = []
    for name, module in model.named_modules():
        weight, parts = getattr(module, "weight", None), name.split(".")
        if text_to_text and "decoder" in parts:
            continue
        if parts[-1] in _TABLES and isinstance(weight, Tensor) and weight.dim() == 2:
            padding, offset = getattr(module, "padding_idx", None), getattr(module, "offset", 0)
            # RoBERTa and its like count from after the padding token's id, BART and OPT from an offset.
            tables.append(int(weight.shape[0]) - (padding + 1 if padding is not None else int(offset)))
    said = getattr(config, "max_position_embeddings", None)
    limits = [*tables, *([said] if isinstance(said, int) and said > 0 else [])]
    relative = getattr(config, "alibi", False) or not getattr(config, "position_biased_input", True)
    if not limits or (relative and not tables):
        return None, False
    return min(limits), bool(tables)


def _takes(model: PreTrainedModel, name: str) -> bool:
    """Whether the forward pass has an argument of this name, or passes it on."""
    accepted = inspect.signature(type(model).forward).parameters
    if name in accepted or not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return name in accepted
    return name in inspect.signature(type(model.base_model).forward).parameters


def _token_types(model: PreTrainedModel) -> int | None:
    if not _takes(model, "token_type_ids"):
        return 0
    tables = [
        int(module.weight.shape[0])
        for name, module in model.named_modules()
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding)
    ]
    return min(tables, default=None)


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that stand for no word, the most fitting to stand for nothing first."""
    names = ("eos_token_id", "bos_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "pad_token_id")
    return [i for name in names if (i := getattr(tokenizer, name, None)) is not None]


def _pad_id(tokenizer: PreTrainedTokenizerBase, configured: int | None, rows: int | None, decoder: bool) -> int:
    """An id that the model's embedding has. A classifier that reads from left to right looks at the last token that is
    no padding: there both must know it, and what ends a text is no padding if that can be helped."""
    most = rows or len(tokenizer)
    if not decoder:
        named, others = (configured, tokenizer.pad_token_id), _special_ids(tokenizer)
    else:
        most = min(most, len(tokenizer))
        last = tokenizer("a")["input_ids"][-1:]
        named, others = (tokenizer.pad_token_id, configured), sorted(_special_ids(tokenizer), key=lambda i: [i] == last)
    return next(int(i) for i in (*named, *others, 0) if i is not None and 0 <= i < most)
