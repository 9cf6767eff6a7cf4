"""Data sets of the Hub, at a known commit."""

import ast
import re
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from ..errors import FactcliError
from .failures import CLIENT_FAILURES, http_status

if TYPE_CHECKING:
    import pyarrow as pa


def load_data(repo_id: str, name: str | None, split: str, revision: str | None, otherwise: str) -> "pa.Table":
    """A split of a data set (of its configuration `name`) on the Hub, or in the local cache where the Hub is out of
    reach; what its columns are stands in the table's metadata.

    Raises FactcliError for what cannot be had; `otherwise` says what to do where the Hub is out of reach.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(repo_id, name, split=split, revision=commit_of(repo_id, revision) or revision)
        assert isinstance(loaded, datasets.Dataset)
        table: pa.Table = loaded.with_format("arrow")[:]
        return table.replace_schema_metadata(loaded.features.arrow_schema.metadata)
    except Exception as error:  # the library, its builders, the client, the network and the disk each have their own
        told = FactcliError(_sentence(error, repo_id, name, split, revision, otherwise))
        told.passing = isinstance(error, OSError) or bool(http_status(error)) or _is_away(error, str(error))
        raise told from error


def _sentence(
    error: Exception, repo_id: str, name: str | None, split: str, revision: str | None, otherwise: str
) -> str:
    said = " ".join(str(error).split())
    which = f"{repo_id}:{name}" if name else repo_id
    if "Config name is missing" in said:
        return f"{repo_id} has several configurations: take one of {_listed(said)}, as {repo_id}:NAME."
    if re.search(r"BuilderConfig .* not found", said):
        return f"{repo_id} has no configuration {name!r}: take one of {_listed(said)}."
    if "Unknown split" in said or "Bad split" in said:
        return f"{which} has no split {split!r}: it has {_listed(said)}."
    if "scripts are no longer supported" in said:
        return f"{repo_id} needs code of its own, which is not run: take a data set of plain files, or give a file."
    if "gated dataset" in said:
        return f"{repo_id} is gated: accept its terms on its page, then set HF_TOKEN to a token that may read it."
    if re.match("Revision .* doesn't exist", said):
        return f"{repo_id} has no revision {revision!r}: choose another --data-revision."
    if "cannot be accessed" in said or http_status(error) in (401, 404):
        return f"{repo_id} is no data set on the Hub, or is private: check the name, or set HF_TOKEN."
    if not http_status(error) and _is_away(error, said):
        return f"{which} is neither in the local cache nor to be reached: {otherwise}."
    return f"{which} cannot be read from the Hub ({said[:150]}): {otherwise}."


def _is_away(error: BaseException | None, said: str) -> bool:
    while error is not None:
        if isinstance(error, CLIENT_FAILURES[:4]):  # a line that is cut, or none
            return True
        error = error.__cause__ or error.__context__
    return "find cache" in said or "reach" in said


def _listed(said: str) -> str:
    """The names in the list that an error of the library ends with."""
    found = re.search(r"\[[^\]]*\]", said)
    try:
        names = [str(name) for name in ast.literal_eval(found[0])] if found else []
    except (SyntaxError, ValueError):
        names = []
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more if names else "those on its page"


def commit_of(repo_id: str, revision: str | None = None) -> str | None:
    """The commit that a revision of a data set stands for (None: its main branch); None where the Hub does not say."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    try:
        return HfApi().dataset_info(repo_id, revision=revision, timeout=10).sha
    except (*CLIENT_FAILURES, OSError, ValueError):
        return None
