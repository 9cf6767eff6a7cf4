"""Data sets of the Hub, at a known commit."""

import re
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from .failures import CLIENT_FAILURES

if TYPE_CHECKING:
    from datasets import Dataset


def load_data(repo_id: str, name: str | None, split: str, revision: str | None = None) -> "Dataset":
    """A split of a data set on the Hub, or in the local cache where the Hub is out of reach.

    Raises what `datasets.load_dataset` raises: ValueError, OSError, RuntimeError.
    """
    import datasets

    loaded = datasets.load_dataset(repo_id, name, split=split, revision=commit_of(repo_id, revision) or revision)
    assert isinstance(loaded, datasets.Dataset)
    return loaded


def commit_of(repo_id: str, revision: str | None = None) -> str | None:
    """The commit that a revision of a data set stands for (None: its main branch); None where the Hub does not say."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    try:
        return HfApi().dataset_info(repo_id, revision=revision, timeout=10).sha
    except (*CLIENT_FAILURES, OSError, ValueError):
        return None
