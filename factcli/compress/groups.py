"""An embedding in groups of tokens of falling frequency, each of which an allocation gives a rank of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..models.targets import Target

SHARES = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4)  # of the tokens, where a group ends


@dataclass(frozen=True)
class Group(Target):
    """Tokens of an embedding: those from `start` on when they are taken by frequency; (embedding size, tokens)."""

    whole: Target | None = None
    start: int = 0


def groups_of(target: Target, by_frequency: bool) -> list[Group]:
    """The groups of an embedding, of which there is one where frequencies are not looked at."""
    d, tokens = target.shape
    ends = sorted({0, *(round(share * tokens) for share in SHARES if by_frequency), tokens})
    return [
        Group(f"{target.name}[{a}:{b}]", (d, b - a), False, None, target.embedding, target, a)
        for a, b in pairwise(ends)
    ]


def spec_of(target: Target, groups: Sequence[Group], ranks: Mapping[str, int | None]) -> dict[str, Any] | None:
    """What the plan says of an embedding whose groups have these ranks (None: dense); None where all are dense.
    Neighbours that are dense are one group."""
    assert target.embedding is not None
    d = target.shape[0]
    sizes: list[int] = []
    kept: list[int] = []
    for group in groups:
        rank = ranks[group.name] or d
        if kept and kept[-1] == d == rank:
            sizes[-1] += group.shape[1]
        else:
            sizes.append(group.shape[1])
            kept.append(rank)
    if kept == [d]:
        return None
    scaled = {"scale": target.embedding.scale} if target.embedding.scale != 1 else {}
    return {"sizes": sizes, "ranks": kept, "tied": target.embedding.tied, **scaled}
