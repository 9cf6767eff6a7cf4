"""How many examples a test tries, and the command with options that are drawn."""

import io
import logging
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st

from factcli.cli import main

EXAMPLES = int(os.environ.get("FACTCLI_EXAMPLES", "500"))
NO_COUNT = "0 -1 1.5 many"


def some(share: float) -> settings:
    """A share of the examples, the same ones in every run."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)), deadline=None, derandomize=True, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip


def call(*words: str) -> tuple[int, str, str]:
    """The command in this process: exit code, stdout, stderr. It never fails but with one sentence."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    logger = logging.getLogger("factcli")
    handlers, propagate = list(logger.handlers), logger.propagate
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["factcli", *words])
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            logger.handlers[:], logger.propagate = handlers, propagate
    said = err.getvalue()
    assert code in (0, 1, 2), said
    assert "Unexpected" not in said, said
    assert "Traceback" not in said, said
    if code:
        assert out.getvalue() == ""
        lines = said.strip().splitlines()
        assert lines[-1].startswith("Error: ") or (code == 2 and lines[0].startswith("Usage: ")), said
    event(f"exit code {code}")
    return code, out.getvalue(), said


@st.composite
def options(draw: st.DrawFn, good: dict[str, str], bad: dict[str, str]) -> dict[str, str]:
    """Some options by name, each with one of its values (words of a text); one time in four a bad one among them."""
    chosen = draw(st.lists(st.sampled_from(sorted(good)), unique=True, max_size=4))
    values = {name: draw(st.sampled_from(good[name].split(" "))) for name in chosen}
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(bad)))
        values[name] = draw(st.sampled_from(bad[name].split(" ")))
    return values


def flags(chosen: dict[str, str]) -> list[str]:
    """Words of a command line; "" stands for a flag that has no value."""
    return [f"--{name}={value}" if value else f"--{name}" for name, value in chosen.items()]
