"""The tokens of a fast tokenizer: what each is, and which must stay so that any text still has tokens."""

import json
import re
import unicodedata
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from ..errors import FactcliError
from .merges import Merges

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SPACE = "\u2581"  # how SentencePiece writes a space


class Pieces:
    """The tokens of `tokenizer`, which `name` is the model of: `ids` of every token, `values` as tokenizer.json has it.

    Raises FactcliError for a tokenizer that has no fast form, or none that can be written.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        found: Any = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(found, Tokenizer):
            raise FactcliError(
                f"{name} has a tokenizer without a fast form ({type(tokenizer).__name__}), whose vocabulary cannot be "
                "made smaller: leave out --vocabulary."
            )
        try:
            text = found.to_str()
        except Exception as error:  # parts in Python cannot be written
            raise FactcliError(
                f"{name} has a tokenizer ({type(tokenizer).__name__}) with parts that no tokenizer.json can hold: "
                "leave out --vocabulary."
            ) from error
        self.values: dict[str, Any] = json.loads(text)
        self.model: dict[str, Any] = self.values["model"]
        self.kind: str = self.model["type"]  # WordPiece, BPE, Unigram or WordLevel: tokenizers has no others
        self.backend = Tokenizer.from_str(text)  # a copy: the other one keeps its truncation and padding
        self.backend.no_truncation()
        self.backend.no_padding()
        self.ids: dict[str, int] = self.backend.get_vocab(with_added_tokens=True)
        self.tokens: dict[int, str] = {i: token for token, i in self.ids.items()}
        self.added = set(self.backend.get_added_tokens_decoder()) | set(map(int, tokenizer.all_special_ids))
        self.merges = Merges(self.model) if self.kind == "BPE" else None
        self.byte_level = '"ByteLevel"' in json.dumps([self.values.get("pre_tokenizer"), self.values.get("normalizer")])

    @property
    def unknown(self) -> int | None:
        """The id of the unknown token."""
        if self.kind == "Unigram":
            found: int | None = self.model.get("unk_id")
            return found
        return self.ids.get(self.model.get("unk_token") or "")

    def must_stay(self) -> set[int]:
        """Special and added tokens, the unknown one, bytes, single characters, and what scores depend on."""
        found = self.added | ({self.unknown} if self.unknown is not None else set())
        found |= {i for token, i in self.ids.items() if self._is_single(token)}
        if self.kind == "Unigram":  # what an unknown character costs is by the lowest score
            scores = [score for _, score in self.model["vocab"]]
            found.add(min(range(len(scores)), key=scores.__getitem__))
        return {i for i in found if i in self.tokens}

    def ancestors(self, i: int) -> set[int]:
        """The ids without which a token is never reached."""
        pieces = self.merges.ancestors(self.tokens[i]) if self.merges and i not in self.added else set()
        return {self.ids[piece] for piece in pieces if piece in self.ids}

    def spelt(self, i: int) -> bool:
        """Whether a token is unknown, a part of a character, or one letter of a script whose words have several: what
        a text of another language turns into."""
        token = self.tokens.get(i, "")
        if i == self.unknown or _BYTE.fullmatch(token):
            return True
        if i in self.added:
            return False
        text = self.backend.decode([i], skip_special_tokens=False) if self.byte_level else self._bare(token)
        text = text.strip()
        if "\ufffd" in text:
            return True
        return len(text) == 1 and text.isalpha() and unicodedata.east_asian_width(text) not in "WF"

    def _is_single(self, token: str) -> bool:
        return len(self._bare(token)) == 1 or len(token) == 1 or bool(_BYTE.fullmatch(token))

    def _bare(self, token: str) -> str:
        """A token without the marks that say where in a word it stands."""
        prefix = self.model.get("continuing_subword_prefix") or ""
        suffix = self.model.get("end_of_word_suffix") or ""
        return token.removeprefix(prefix).removesuffix(suffix)
