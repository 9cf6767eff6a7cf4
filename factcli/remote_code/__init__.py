"""The Python files that exports carry, byte for byte; here they are ordinary modules.

Every export has the configuration and the native models made over; one whose layers are not among those of
modeling_factorized.py carries, and names in its auto_map, the module that brings them, which imports that one.
"""

import hashlib
import importlib
import importlib.util
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
MODELING = FOLDER / "modeling_factorized.py"
FILES = (FOLDER / "configuration_factorized.py", MODELING)
EARLIER: frozenset[str] = frozenset()  # SHA-256 of the files of earlier releases, which today's reads the models of
_ELSEWHERE: dict[str, Path] = {}  # modules of layers that are not in this folder, by name


def files_with(layer_file: Path) -> tuple[Path, ...]:
    """The files of an export whose layers `layer_file` has."""
    return FILES if layer_file in FILES else (*FILES, layer_file)


def module(layer_file: Path) -> ModuleType:
    """The module that an export has of this file, as one of this package."""
    name = f"{__name__}.{layer_file.stem}"
    if layer_file.parent == FOLDER or name in sys.modules:
        return importlib.import_module(name)
    _ELSEWHERE[layer_file.stem] = layer_file
    for file in files_with(layer_file):  # save_pretrained looks for what a module imports beside it
        shutil.copyfile(file, Path(_copies().name) / file.name)
    spec = importlib.util.spec_from_file_location(name, Path(_copies().name) / layer_file.name)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="factcli-layers-")


def named(stem: str) -> Path:
    """The file of a module of layers by its name in an auto_map; `modeling_factorized.py` for one that is unknown."""
    here = FOLDER / f"{stem}.py"
    return _ELSEWHERE.get(stem, here if here.is_file() else MODELING)


def foreign_code(folder: Path) -> str | None:
    """The first Python file in the directory of a factorized model that no release of this package wrote; None where
    there is none, and the installed code may stand in for the model's own."""
    known = EARLIER | {_digest(file) for file in (*FOLDER.glob("*.py"), *_ELSEWHERE.values())}
    return next((f.name for f in sorted(folder.glob("*.py")) if _digest(f) not in known), None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
