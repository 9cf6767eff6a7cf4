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
_PARTS = ("embeddings_factorized.py", "kernels_factorized.py")  # of MODELING, which imports them
FILES = (FOLDER / "configuration_factorized.py", MODELING, *(FOLDER / name for name in _PARTS))
CODE = (*FILES, *sorted(set(FOLDER.glob("modeling_*.py")) - {MODELING}))
_ELSEWHERE: dict[str, Path] = {}  # modules of layers that are not in this folder, by name
# SHA-256 of FILES as they ever went into exports, oldest first; the last entry is today's files. What is here stays:
# these exports are out there, and today's files read all of them. Who changes a file adds an entry.
VERSIONS = (
    (
        "7ce5eb869eac2143bfa9191222e8c5f315fd743bb07e45ce4922d6b996127d6c",
        "dcc037612acc2235ed9106a212a343e3bcfbfd81d0a3203f1b2a496b97d68dc5",
    ),
    (
        "7ce5eb869eac2143bfa9191222e8c5f315fd743bb07e45ce4922d6b996127d6c",
        "db1297d1eebdff11f4a590aadddb4b0da786881db4cff781870c560b8aa9b943",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "8877d12fc359b921ab94a80223dbb7a1ab1f1e20086ec37f9980fb34d9047901",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "6d7607221e2ac7fe40aecb7571f4784dab8ee4c054d7e92695b54d7a67296caf",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "d256b9f336261445ae210041892d5eab3b5534907ef845b9e0f7c48b339dcfcf",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "e1a54cd4d0898c0f7bd058ecabc6e907be5332be90a247a91633aefce41849a8",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "87ca2928902855187d85cde5d55e30b0e02139f587a438501164b0075d618862",
        "f31fd8872e41bae385a0fcf8176b47d1b687a9fa290b4eb41d5f9b29cb6f785a",
        "1ef5a6a0e526d1ee86355be3b520286d6376fc94abea66cf8c2761063401fff4",
    ),
)
# The same of the modules of further layers, each by itself.
LAYER_VERSIONS = {
    "modeling_pivoted.py": ("532190568c864149cbed1991a272c441dd593ff68a4a47c043606c787175f8c3",),
}
EARLIER = frozenset(
    digest for version in (*VERSIONS[:-1], *(v[:-1] for v in LAYER_VERSIONS.values())) for digest in version
)


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
    return _ELSEWHERE.get(stem, here if here in CODE else MODELING)


def code_files() -> tuple[Path, ...]:
    """Every file that this process may write into an export."""
    return (*CODE, *_ELSEWHERE.values())


def foreign_code(folder: Path, module: str | None = None) -> str | None:
    """The first of the files with the code of a factorized model, in its directory, that no release of this package
    wrote; None where there is none, and the installed code may stand in for the model's own. `module` is the one that
    its configuration names. Code of its tokenizer is another matter: the model does not run it."""
    ours = code_files()
    known = EARLIER | {digest(file) for file in ours}
    own = dict.fromkeys([*(file.name for file in ours), *([f"{module}.py"] if module else [])])
    return next((name for name in own if (folder / name).is_file() and digest(folder / name) not in known), None)


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
