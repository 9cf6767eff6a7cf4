"""What counts as met: a sentence with anything filled in, and no other one."""

import pytest

from .said import met

NEAR = "--only ⟨name⟩ is in no run: ⟨did you mean ⟨near⟩? / known are ⟨names⟩.⟩"


@pytest.mark.parametrize(
    ("sentence", "text", "found"),
    [
        ("⟨folder⟩ is not writable: choose another.", "Error: out is not writable: choose another.", True),
        ("⟨folder⟩ is not writable: choose another.", "out is not writable.", False),
        ("Give ⟨a⟩, not ⟨b⟩.", "Give --seed, not --seeds.", True),
        (NEAR, "--only 'tsk' is in no run: did you mean 'task'?", True),
        (NEAR, "--only 'tsk' is in no file", False),
    ],
)
def test_met(sentence: str, text: str, found: bool) -> None:
    assert met(sentence, [text]) == found
