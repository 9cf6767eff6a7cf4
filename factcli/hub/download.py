"""Fetching a source from the Hub, checked against its checksums."""

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download

from ..errors import FactcliError, Lacking
from ..files.links import names_in
from .contents import ADAPTER, no_weights
from .failures import CLIENT_FAILURES, failure

Read = Callable[[str], str]  # the text of a file, by its name
Wanted = Callable[[Collection[str], Read], set[str]]  # of the names of a repository's files, those to fetch


def fetch(repo_id: str, revision: str | None, wanted: Wanted | None) -> tuple[Path, str | None]:
    """A local directory with config.json and the files that are `wanted` of those that the repository has, and the
    commit.

    Weights are compared with the Hub's SHA-256, which the client does not do.
    Raises FactcliError where the repository cannot be had.
    """
    try:
        path = Path(hf_hub_download(repo_id, "config.json", revision=revision)).parent
        commit = path.name if re.fullmatch("[0-9a-f]{40}", path.name) else None
        for name in _of_versions(path):
            hf_hub_download(repo_id, name, revision=commit or revision)
        if wanted is not None:
            _fetch_wanted(repo_id, commit or revision, path, wanted)
    except errors.RemoteEntryNotFoundError as error:
        names = set(listed_files(repo_id, revision))
        if ADAPTER in names:
            raise FactcliError(no_weights(repo_id, names)) from error
        raise failure(error, repo_id, revision) from error
    except (*CLIENT_FAILURES, errors.HFValidationError, OSError) as error:
        raise failure(error, repo_id, revision) from error
    return path, commit


def _fetch_wanted(repo_id: str, commit: str | None, path: Path, wanted: Wanted) -> None:
    unreached = None
    try:
        names = HfApi().list_repo_files(repo_id, revision=commit)
    except (*CLIENT_FAILURES, OSError) as error:  # what the cache has will do, if it has the weights
        names, unreached = names_in(path), error
    files = wanted(names, lambda name: Path(hf_hub_download(repo_id, name, revision=commit)).read_text("utf-8"))
    weights = sorted(name for name in files if name.endswith(".safetensors"))
    if unreached is not None and not set(weights) <= set(names):
        raise unreached
    snapshot_download(repo_id, revision=commit, allow_patterns=[glob.escape(name) for name in sorted(files)])
    for name in weights:
        if (path / name).is_file() and damaged(path / name):
            hf_hub_download(repo_id, name, revision=commit, force_download=True)
            if damaged(path / name):
                raise Lacking(
                    f"{name} of {repo_id} arrives damaged (its SHA-256 is not the Hub's): try again later, or from "
                    "another network."
                )


def _of_versions(path: Path) -> list[str]:
    """The files for other versions of transformers that a config.json names."""
    try:
        named = json.loads((path / "config.json").read_text(encoding="utf-8"))["configuration_files"]
    except (ValueError, KeyError, TypeError):  # whoever reads it says what is wrong
        return []
    return [str(n) for n in named if re.fullmatch(r"config\.[\w.]+\.json", str(n))] if isinstance(named, list) else []


def listed_files(repo_id: str, revision: str | None) -> list[str]:
    """Names of all files of a repository; empty where the Hub cannot be asked."""
    try:
        return HfApi().list_repo_files(repo_id, revision=revision)
    except (*CLIENT_FAILURES, errors.HFValidationError, OSError):
        return []


def fetch_text(repo_id: str, file: str, revision: str) -> str:
    """A small file as text; the client's errors go through."""
    return Path(hf_hub_download(repo_id, file, revision=revision)).read_text(encoding="utf-8")


def damaged(file: Path) -> bool:
    """Whether a file of the Hub's cache differs from what the Hub has. The cache links to large files by their SHA-256
    (which may be a link in turn, to a store that goes by other hashes); where it does not (no symbolic links on the
    disk), nothing can be said."""
    stored = os.path.basename(os.readlink(file)) if file.is_symlink() else file.name
    if not re.fullmatch("[0-9a-f]{64}", stored):
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() != stored
