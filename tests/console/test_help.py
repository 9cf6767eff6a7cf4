"""The head of every help, and what a shell completes."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from factcli.cli.app import app
from factcli.recipe.commands import COMMANDS

SCRIPT = Path(sys.executable).with_name("factcli")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_examples_stand_at_the_top_of_the_help_and_parse(command: Any) -> None:
    group: Any = typer.main.get_command(app)
    made = group.commands[command.name]
    assert len(command.examples) == 2
    lines = [f"    factcli {example}" for example in command.examples]
    text = made.get_help(made.make_context(command.name, [], resilient_parsing=True)).splitlines()
    assert text.index("  Examples:") < 8
    assert text[text.index("  Examples:") + 1 :][:3] == [*lines, ""]
    for example in command.examples:
        assert len(f"    factcli {example}") <= 80
        name, *words = shlex.split(example)
        assert name == command.name
        values = made.make_context(name, words).params  # complains of what it does not know
        given = {k: v for k, v in values.items() if v is not None and v != []}
        command.ask({k: v for k, v in given.items() if k in command.keywords})  # which reads and checks every value


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("convert --criterion f", ["frobenius", "fisher-rows", "fisher"]),
        ("export small --format o", ["onnx", "openvino"]),
        ("bench small --backend onnx,", ["onnx,torch", "onnx,openvino"]),
        ("diagnose model --a", ["--all"]),
    ],
)
def test_choices_are_completed(words: str, completed: list[str], world: dict[str, str]) -> None:
    line = f"factcli {words}"
    asked = {"_FACTCLI_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run([SCRIPT], env=world | asked, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted(completed)


def test_completion_is_shown_and_installed(world: dict[str, str], tmp_path: Path) -> None:
    env = world | {"HOME": str(tmp_path)}

    def in_bash(flag: str) -> str:
        line = f"{shlex.quote(str(SCRIPT))} {flag}; exit $?"  # in a child of the shell, by which it is recognized
        return subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, check=True).stdout

    assert "complete -o default -F _factcli_completion factcli" in in_bash("--show-completion")
    in_bash("--install-completion")
    assert "factcli" in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    line = f"source {shlex.quote(str(tmp_path / '.bash_completions' / 'factcli.sh'))} && complete -p factcli"
    subprocess.run(["bash", "-c", line], env=env, check=True, capture_output=True)
