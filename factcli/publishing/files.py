"""What of a directory goes to the Hub: the files of a model, and nothing that lies beside them."""

from pathlib import Path

from ..card.runtimes import recorded
from ..errors import FactcliError
from ..files.links import is_plain, names_in, read_text
from ..models.carried import parts, survey, weight_names
from ..models.model import find_model

CARD = "README.md"
WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")


def export_files(folder: Path) -> tuple[list[str], list[str]]:
    """Paths (relative, posix) below `folder` that make up the model, and those that are left out.

    Published is what `convert` and `finetune` write, and nothing that lies beside it: see `models.carried`. Symbolic
    links are left out. Raises FactcliError where `folder` is not a whole model.
    """
    if not folder.is_dir():
        raise FactcliError(f"{folder} is not a directory: give one that 'factcli convert' or 'factcli finetune' made.")
    find_model(str(folder), accept_factorized=True)
    there = names_in(folder)
    names = [name for name in there if is_plain(folder, name)]
    name = str(folder)

    def read(file: str) -> str:
        return read_text(folder, file, name)

    linked = sorted({"config.json", *weight_names(names, read)} - set(names))
    if linked:
        raise FactcliError(f"{linked[0]} of {folder} is a link: put the file itself there.")
    found = survey(name, names, read, trusted=True)  # code of its own goes with the model
    if found.problems:
        raise FactcliError(found.problems[0])
    runtimes = {str(part) for entry in recorded(folder) for part in entry["parts"]} & set(names)
    published = sorted(parts(found, names, read) & set(names) | runtimes)
    return published, [name for name in there if name not in published]
