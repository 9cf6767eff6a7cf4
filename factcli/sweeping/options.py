"""Which options a run may have, and which of its commands gets them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from ..errors import UsageError
from ..recipe import running
from ..recipe.commands import CONVERT, DIAGNOSE, EVAL, FINETUNE, Command
from ..recipe.fields import declared

COMMANDS: dict[str, Command] = {command.name: command for command in (CONVERT, FINETUNE, EVAL, DIAGNOSE)}
MAKERS = (CONVERT.name, FINETUNE.name)  # their result is a model
FILES = ("config",)  # named relative to the sweep file, and carried to where the run is
PLACES = (  # may name a file or directory, whose content then counts
    "model", "teacher", "mixed_with", "data_dir", "train", "validation", "test", "calibration", "vocabulary",
    "retrieval", "heal",
)  # fmt: skip
_OWNED = {
    "output", "overwrite", "resume", "seeds", "push_to_hub", "hub_model_id", "private", "update_card", "plot",
}  # fmt: skip
# Decide how a run goes, not what comes out of it.
IDLE = {*declared(running.Training), *declared(running.Device), "trust_remote_code", "progress"}


@cache
def keywords(command: str) -> tuple[str, ...]:
    """What a run may ask of a command; the model of `eval` is one, as everywhere else."""
    return tuple("model" if name == "models" else name for name in COMMANDS[command].keywords if name not in _OWNED)


def check_name(name: str, commands: Sequence[str], where: str) -> None:
    """Raises UsageError for what is no option of these commands."""
    command, _, bare = name.rpartition(".")
    if bare in _OWNED and (not command or command in commands):
        raise UsageError(f"{where} has {name!r}, which the sweep sees to itself: leave it out.")
    if command in commands and bare in keywords(command):
        return
    known = [option for each in commands for option in keywords(each)]
    if name in known:
        return
    near = get_close_matches(bare, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else "."
    raise UsageError(f"{where} has an unknown option {name!r} of {' and '.join(commands)}{hint}")


def divided(commands: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each command: `command.name` is that command's, a bare name the first's that has it."""
    found: list[dict[str, Any]] = [{} for _ in commands]
    for name, value in options.items():
        command, _, bare = name.rpartition(".")
        for place, each in enumerate(commands):
            if each == command or (not command and bare in keywords(each)):
                found[place][bare] = value
                break
    return found


def check_values(commands: Sequence[str], options: Mapping[str, Any], where: str) -> None:
    """Raises UsageError for a value that an option cannot have."""
    for command, values in zip(commands, divided(commands, options), strict=True):
        asked = {("models" if name == "model" and command == EVAL.name else name): v for name, v in values.items()}
        try:
            COMMANDS[command].ask(asked)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
