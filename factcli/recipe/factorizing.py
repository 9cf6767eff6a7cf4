"""How a model is factorized: one point in the grid of structure, criterion, allocation and budget."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..errors import UsageError
from .effects import is_file, of_recipes
from .fields import Options, declared, option, spelled
from .registry import allocations, criteria, structures
from .rules import idle
from .values import BUDGETS, DTYPE, SEED, UNSEEN, count

FISHER = ("sampled", "empirical")
EMBEDDINGS = ("dense", "factorize")
OBJECTIVES = ("embedding", "hidden", "class", "labels", "number", "token", "masked", "next", "text", "span")
COMPENSATIONS = ("sequential", "none")


class Choices(Options):
    """What is chosen of each kind; the options of these choices are beside it."""

    method: str = option("low-rank", "What a matrix becomes.", known=structures)
    criterion: str = option("frobenius", "How an error in a matrix is counted.", known=criteria)
    allocation: str = option("uniform", "Who gets how much of the budget.", known=allocations)
    compensation: str | None = option(
        None, "Whether matrices make up for those before them.", "sequential with a criterion that looks at inputs",
        known=COMPENSATIONS,
    )  # fmt: skip


class Size(Options):
    """The budget: exactly one of its first four."""

    panel: ClassVar[str] = "Budget (exactly one of --params, --keep, --rank and --max-mb)"
    rivals: ClassVar[tuple[str, ...]] = BUDGETS

    params: int | None = option(
        None, "Parameters of the whole model after: 44M, 1.2B.", read=count, ge=1, called="a positive count"
    )
    keep: float | None = option(
        None, "Fraction of the targets' parameters kept.", gt=0, lt=1,
        called="a fraction between 0 and 1: 0.25 keeps a quarter",
    )  # fmt: skip
    rank: int | None = option(None, "Rank of every target.", ge=1)
    max_mb: float | None = option(
        None, "Megabytes (10^6 bytes) of the file that is shipped: the weights, or with --format each of its files.",
        gt=0, called="a number of megabytes above 0",
    )  # fmt: skip
    force_rank: bool = option(False, "Factorize at --rank even where that is larger than dense.")
    rank_multiple: int = option(1, "Ranks are multiples of this.", quiet=True, ge=1)


class Texts(Options):
    """The data of a criterion that looks at some."""

    panel: ClassVar[str] = "Calibration (for a criterion that looks at data)"

    calibration: str | None = option(
        None, "A GLUE task, a file of texts or a Hub data set: owner/name[:configuration].",
        "the training data where there is training",
    )  # fmt: skip
    calibration_samples: int = option(512, "Examples used.", ge=1)
    data_revision: str | None = option(None, "Commit, tag or branch of data on the Hub.", "the newest")
    max_length: int | None = option(None, "Tokens of a text.", "128, or as many as the model takes", ge=1)
    fisher: str = option(
        "sampled", "Gradients from the model's own predictions (sampled) or from labels (empirical).", known=FISHER
    )
    objective: str | None = option(
        None, "What gradients are of: what the head predicts, hidden states, or vectors of texts (embedding).",
        "the head's, else hidden states", known=OBJECTIVES,
    )  # fmt: skip
    text_column: tuple[str, ...] = option((), "Column of texts; twice for pairs.", words=True)
    label_column: str = option("label", "Column of labels, for --fisher empirical.", words=True)


class Vocabulary(Options):
    """Which tokens stay."""

    panel: ClassVar[str] = "Vocabulary"

    vocabulary: str | None = option(
        None, "A file of texts: tokens that it does not use go, from model and tokenizer.", "every token stays"
    )
    vocabulary_size: int | None = option(None, "Tokens that stay.", "all that the texts use", ge=1)


class Where(Options):
    """Which matrices."""

    panel: ClassVar[str] = "Targets"

    include: tuple[str, ...] = option(
        (), "Only targets whose name this regular expression matches; repeatable.", words=True
    )
    exclude: tuple[str, ...] = option(
        (), "No targets whose name this regular expression matches; repeatable.", words=True
    )


class Tokens(Options):
    """The matrix of the tokens."""

    panel: ClassVar[str] = "Targets"

    embeddings: str = option(
        "dense", "Whether the token embedding is a target, with a head that is tied to it.", known=EMBEDDINGS,
        quiet=True,
    )  # fmt: skip
    unseen_tokens: float = option(
        UNSEEN, "Share of all occurrences that counts for tokens which the texts do not have.", gt=0, lt=1, quiet=True
    )


class Saved(Options):
    """The precision of the result."""

    dtype: str | None = DTYPE
    seed: int = SEED


@dataclass(frozen=True)
class Budget:
    """Exactly one of: parameters of the whole model, fraction of the targets' parameters, rank of every target,
    megabytes of a file."""

    params: int | None = None
    keep: float | None = None
    rank: int | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        *most, last = (spelled(k) for k in BUDGETS)
        given = [spelled(k) for k in BUDGETS if getattr(self, k) is not None]
        if len(given) != 1:
            raise UsageError(
                f"Give exactly one of {', '.join(most)} and {last}, not {' and '.join(given) if given else 'none'}."
            )


class Examined(Where, Texts):
    """What `diagnose` is asked: of every criterion, with the options that these own."""

    registries = (criteria,)

    seed: int = SEED


class Recipe(Saved, Tokens, Where, Texts, Vocabulary, Size, Choices):
    """One point in the grid of structure, criterion, allocation and budget, with the options that these own; and the
    vocabulary that the model is left with, before a factorization or without one."""

    registries = (structures, criteria, allocations)

    def check(self) -> None:
        if self.compensation == "sequential" and not criteria[self.criterion].reads_inputs():
            known = ", ".join(name for name in criteria if criteria[name].reads_inputs())
            raise UsageError(f"--compensation sequential needs a criterion that looks at inputs: {known}.")
        if self.factorizes_embeddings and not criteria[self.criterion].embeddings:
            known = ", ".join(name for name in criteria if criteria[name].embeddings)
            raise UsageError(
                f"--criterion {self.criterion} has no norm for embeddings: take one of {known}, or --embeddings dense."
            )
        if self.rank is not None and allocations[self.allocation].needs_gains:
            raise UsageError(
                f"--rank is one rank for all: give --keep, --params or --max-mb with --allocation {self.allocation}."
            )

    @property
    def factorizes(self) -> bool:
        """Whether there is anything beside the vocabulary to make smaller."""
        return self.vocabulary is None or any(getattr(self, name) is not None for name in BUDGETS)

    @property
    def factorizes_embeddings(self) -> bool:
        """Whether the token embedding is a target."""
        return self.embeddings == "factorize"

    @property
    def compensates(self) -> bool:
        """Whether layers are fitted one after the other to the inputs that those before them give."""
        looks = criteria[self.criterion].reads_inputs()
        return (self.compensation or ("sequential" if looks else "none")) == "sequential"

    @property
    def budget(self) -> Budget:
        """Raises UsageError where it is not exactly one."""
        return Budget(self.params, self.keep, self.rank, self.max_mb)

    def to_dict(self) -> dict[str, Any]:
        """What has an effect, without what was not asked for. A file is named without its directory, which belongs to
        one machine."""
        values = dict(vars(self))
        useless = idle(of_recipes(), values)
        values["compensation"] = "sequential" if self.compensates else "none"
        for name in ("calibration", "vocabulary"):
            if is_file(values[name]):
                values[name] = Path(str(values[name])).name
        quiet = {name for name, one in declared(type(self)).items() if one.about.quiet and values[name] == one.default}
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in values.items()
            if not (k in useless or k in quiet or v is None or v is False or v == ())
        }
