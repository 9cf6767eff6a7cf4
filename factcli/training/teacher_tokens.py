"""The tokens of a student whose vocabulary is a part of its teacher's, under other ids."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def renumbered(student: Mapping[str, int], teacher: Mapping[str, int]) -> Tensor | None:
    """The teacher's id of each of the student's (ids,); None where the vocabularies are the same, or the student has a
    token that the teacher lacks."""
    if student == teacher or not student.keys() <= teacher.keys():
        return None
    found = torch.zeros(1 + max(student.values()), dtype=torch.long)
    for token, i in student.items():
        found[i] = teacher[token]
    return found


def as_teacher(tokens: Tensor | None, ids: Sequence[int]) -> list[int]:
    """A text's ids of the student as the teacher's."""
    return list(ids) if tokens is None else tokens[torch.tensor(list(ids), dtype=torch.long)].tolist()


def read_alike(tokens: Tensor | None, student: Sequence[int], teacher: Sequence[int]) -> bool:
    """Whether both make the same of a text. Where the student lacks a token that the teacher reads, it reads smaller
    pieces, of which the teacher then gets as many."""
    if tokens is not None and not set(teacher) <= set(tokens.tolist()):
        return True
    return as_teacher(tokens, student) == list(teacher)
