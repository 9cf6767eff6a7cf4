"""The Hugging Face Hub: fetching a source, and its failures as sentences."""

import os
from pathlib import Path

from huggingface_hub import constants, errors, hf_hub_download, snapshot_download

from .errors import FactcliError

SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.vocab", "*.tiktoken", "*.spm", "README.md")
_WEIGHTS = ("model.safetensors", "model-*.safetensors")
_OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "*.msgpack", "*.h5")


def fetch(repo_id: str, revision: str | None, weights: bool) -> tuple[Path, str | None]:
    """A local directory with the repository's small files (without `weights`, its config.json alone), and the commit.

    Raises FactcliError where the repository cannot be had.
    """
    try:
        if weights:
            patterns = [*SMALL_FILES, *_WEIGHTS]
            path = Path(
                snapshot_download(
                    repo_id, revision=revision, allow_patterns=patterns, ignore_patterns=list(_OTHER_FORMATS)
                )
            )
        else:
            path = Path(hf_hub_download(repo_id, "config.json", revision=revision)).parent
    except errors.HFValidationError as error:
        raise FactcliError(f"{repo_id!r} is neither a directory here nor a Hub id (name or owner/name).") from error
    except errors.GatedRepoError as error:
        raise FactcliError(
            f"{repo_id} is gated: accept its terms on its Hub page, then set HF_TOKEN to a token that may read it."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FactcliError(
            f"{repo_id} is not on the Hub, or is private: check the name, or set HF_TOKEN to a token that may read it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FactcliError(f"{repo_id} has no revision {revision!r}.") from error
    except errors.RemoteEntryNotFoundError as error:
        raise FactcliError(f"{repo_id} has no config.json: it is not a transformers model.") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError) as error:
        status = _http_status(error)
        if constants.HF_HUB_OFFLINE:
            why = "is not in the local cache and HF_HUB_OFFLINE is set"
        elif status:
            why = f"was not delivered: {_endpoint()} answered with HTTP {status}"
        else:
            why = f"is not in the local cache and {_endpoint()} cannot be reached"
        token = ", set HF_TOKEN" if status in (401, 403) else ""
        raise FactcliError(f"{repo_id} {why}: try again{token}, or give the path of a directory.") from error
    return path, path.name if len(path.name) == 40 else None


def _http_status(error: BaseException | None) -> int | None:
    """The status in an error or its causes: the client wraps what the server answered."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status:
            return int(status)
        error = error.__cause__ or error.__context__
    return None


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "the Hub").split("@")[-1]
