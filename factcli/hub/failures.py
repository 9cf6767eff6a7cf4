"""The Hub's failures as sentences; no token is ever in one."""

import errno
import json
import os

from huggingface_hub import constants, errors

from ..errors import FactcliError, Lacking

# The client's own HTTP library has an error for a line that is cut; RuntimeError is what one becomes in an upload.
_HTTP_ERROR: type[Exception] = vars(errors)["HTTPError"]
CLIENT_FAILURES = (
    _HTTP_ERROR, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError, RuntimeError, json.JSONDecodeError
)  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TRY_AGAIN = (408, 412, 429, 500, 502, 503, 504)  # 412: the branch moved meanwhile


def failure(error: BaseException, repo_id: str, revision: str | None = None, doing: str = "delivered") -> FactcliError:
    """What `error`, raised by huggingface_hub while `repo_id` was to be `doing` (delivered, published), means: all but
    a name that is none may be otherwise another time."""
    match error:
        case errors.HFValidationError():
            return FactcliError(f"{repo_id!r} is neither a directory here nor a Hub id (name or owner/name).")
        case errors.GatedRepoError():
            text = f"{repo_id} is gated: accept its terms on its page, then set HF_TOKEN to a token that may read it."
        case errors.RepositoryNotFoundError():
            text = (
                f"{repo_id} is not on the Hub, or is private: check the name, or set HF_TOKEN to a token that may read "
                "it."
            )
        case errors.RevisionNotFoundError():
            text = f"{repo_id} has no revision {revision!r}."
        case errors.RemoteEntryNotFoundError():
            text = f"{repo_id} has no config.json: it is not a transformers model."
        case _ if (number := _local_failure(error)) is not None:
            home = "the Hub's cache (HF_HOME)"
            why = "is full: free some space" if number in _FULL else "is not writable: change its rights"
            text = f"{repo_id} was not {doing}: the disk of {home} {why}, or set HF_HOME to another directory."
        case _:
            status = http_status(error)
            if constants.HF_HUB_OFFLINE:
                why = "is not in the local cache and HF_HUB_OFFLINE is set"
                why = why if doing == "delivered" else f"cannot be {doing}: HF_HUB_OFFLINE is set"
            elif status:
                why = f"was not {doing}: {endpoint()} answered with HTTP {status}{_said(error)}"
            elif doing == "delivered":
                why = f"is not in the local cache and {endpoint()} cannot be reached"
            else:
                why = f"was not {doing}: the connection to {endpoint()} failed"
            token = ", set HF_TOKEN" if status in (401, 403) else ""
            local = ", or give the path of a directory" if doing == "delivered" else ""
            text = f"{repo_id} {why}: try again{token}{local}."
    return Lacking(text)


def http_status(error: BaseException | None) -> int | None:
    """The status in an error or its causes: the client wraps what the server answered."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status:
            return int(status)
        error = error.__cause__ or error.__context__
    return None


def _local_failure(error: BaseException | None) -> int | None:
    """The errno of a file that could not be written here, in an error or its causes."""
    while error is not None:
        if getattr(error, "errno", None) in (*_FULL, errno.EACCES, errno.EROFS):
            return int(error.errno)  # type: ignore[attr-defined]
        error = error.__cause__ or error.__context__
    return None


def endpoint() -> str:
    """The server, without a password in its address."""
    return os.environ.get("HF_ENDPOINT", "the Hub").split("@")[-1]


def _said(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "server_message", None) or "").split())
    return f" ({text[:150]})" if text else ""
