"""The two files that every export carries, byte for byte; here they are ordinary modules."""

import hashlib
from pathlib import Path

FILES = tuple(Path(__file__).with_name(name) for name in ("configuration_factorized.py", "modeling_factorized.py"))
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
)
EARLIER = frozenset(digest for version in VERSIONS[:-1] for digest in version)


def foreign_code(folder: Path) -> str | None:
    """The first of the two files in the directory of a factorized model that no release of this package wrote; None
    where there is none, and the installed code may stand in for the model's own. Code of its tokenizer is another
    matter: the model does not run it."""
    known = EARLIER | {digest(file) for file in FILES}
    own = [folder / file.name for file in FILES]
    return next((f.name for f in own if f.is_file() and digest(f) not in known), None)


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
