"""The two files that every export carries, byte for byte; here they are ordinary modules."""

import hashlib
from pathlib import Path

FILES = tuple(Path(__file__).with_name(name) for name in ("configuration_factorized.py", "modeling_factorized.py"))
EARLIER: frozenset[str] = frozenset()  # SHA-256 of the files of earlier releases, which today's reads the models of


def foreign_code(folder: Path) -> str | None:
    """The first of the two files in the directory of a factorized model that no release of this package wrote; None
    where there is none, and the installed code may stand in for the model's own. Code of its tokenizer is another
    matter: the model does not run it."""
    known = EARLIER | {_digest(file) for file in FILES}
    own = [folder / file.name for file in FILES]
    return next((f.name for f in own if f.is_file() and _digest(f) not in known), None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
