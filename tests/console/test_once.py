"""A warning that repeats is said once: ours, and those of libraries where -v shows them."""

import subprocess
import sys

PROGRAM = """
import logging, sys, warnings
import transformers.utils.logging as theirs
from factcli.cli import console
from factcli.notes import note

console.show_notes()
console.quiet_libraries(verbose="-v" in sys.argv)
for _ in range(3):
    note("ours")
    theirs.get_logger("transformers.some").warning("theirs")
    warnings.warn("python's")
    exec(compile("import warnings; warnings.warn('of another line')", "<elsewhere>", "exec"))
note("another of ours")
"""


def test_each_is_said_once(world: dict[str, str]) -> None:
    def said(*flags: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", PROGRAM, *flags], env=world, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()

    assert said() == ["ours", "another of ours"]
    verbose = "\n".join(said("-v"))
    assert [verbose.count(text) for text in ("ours\n", "theirs", "Warning: python's", "Warning: of another line")] == [
        1, 1, 1, 1,
    ]  # fmt: skip
