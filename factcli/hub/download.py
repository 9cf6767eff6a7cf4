"""Fetching a source from the Hub, checked against its checksums."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download

from ..errors import FactcliError
from ..models.weights import ADAPTER, no_weights, shards_elsewhere
from .failures import CLIENT_FAILURES, failure

SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.vocab", "*.tiktoken", "*.spm", "README.md")
_OF_EXPORTS = ("*.py", "factcli_recipe.yaml")  # code is looked at here, not run
_WEIGHTS = ("model.safetensors", "model-*.safetensors")
_OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "*.msgpack", "*.h5")


def fetch(repo_id: str, revision: str | None, weights: bool) -> tuple[Path, str | None]:
    """A local directory with the repository's small files (without `weights`, its config.json alone), and the commit.

    Weights are compared with the Hub's SHA-256, which the client does not do.
    Raises FactcliError where the repository cannot be had.
    """
    try:
        if not weights:
            path = Path(hf_hub_download(repo_id, "config.json", revision=revision)).parent
        else:
            path = Path(
                snapshot_download(
                    repo_id, revision=revision, allow_patterns=[*SMALL_FILES, *_OF_EXPORTS, *_WEIGHTS],
                    ignore_patterns=list(_OTHER_FORMATS),
                )
            )  # fmt: skip
            for name in shards_elsewhere(path):
                with suppress(errors.EntryNotFoundError):  # said by whoever reads the weights
                    hf_hub_download(repo_id, name, revision=path.name)
            for file in sorted(path.glob("*.safetensors")):
                if damaged(file):
                    hf_hub_download(repo_id, file.name, revision=path.name, force_download=True)
                    if damaged(file):
                        raise FactcliError(
                            f"{file.name} of {repo_id} arrives damaged (its SHA-256 is not the Hub's): try again "
                            "later, or from another network."
                        )
    except errors.RemoteEntryNotFoundError as error:
        names = set(listed_files(repo_id, revision))
        if ADAPTER in names:
            raise FactcliError(no_weights(repo_id, names)) from error
        raise failure(error, repo_id, revision) from error
    except (*CLIENT_FAILURES, errors.HFValidationError, OSError) as error:
        raise failure(error, repo_id, revision) from error
    return path, path.name if re.fullmatch("[0-9a-f]{40}", path.name) else None


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
    """Whether a file of the Hub's cache differs from what the Hub has. The cache stores large files under their
    SHA-256; where it does not (no symbolic links on the disk), nothing can be said."""
    stored = file.resolve().name
    if not re.fullmatch("[0-9a-f]{64}", stored):
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() != stored
