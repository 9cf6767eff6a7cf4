"""From addresses to endpoints."""

from collections.abc import Callable
from urllib.parse import unquote

from . import reading, writing
from .messages import Ask, Refusal, Reply

Endpoint = Callable[[Ask], Reply]

GLOBAL: dict[tuple[str, str], tuple[str, Endpoint]] = {
    ("GET", "api/whoami-v2"): ("whoami", reading.whoami),
    ("POST", "api/validate-yaml"): ("validate_yaml", writing.validate_yaml),
    ("POST", "api/repos/create"): ("create", writing.create),
    ("DELETE", "api/repos/delete"): ("delete", writing.delete),
}
OF_REPO: dict[tuple[str, str], tuple[str, Endpoint]] = {
    ("GET", ""): ("info", reading.info),
    ("GET", "revision"): ("info", reading.info),
    ("GET", "auth-check"): ("auth_check", reading.auth_check),
    ("GET", "tree"): ("tree", reading.tree),
    ("POST", "paths-info"): ("paths_info", reading.paths_info),
    ("GET", "refs"): ("refs", reading.refs),
    ("GET", "commits"): ("commits", reading.commits),
    ("PUT", "settings"): ("settings", writing.settings),
    ("POST", "preupload"): ("preupload", writing.preupload),
    ("POST", "commit"): ("commit", writing.commit),
    ("POST", "branch"): ("branch", writing.branch),
    ("DELETE", "branch"): ("branch", writing.branch),
    ("POST", "tag"): ("tag", writing.tag),
    ("DELETE", "tag"): ("tag", writing.tag),
}
LFS = {"batch": ("lfs_batch", writing.lfs_batch), "verify": ("verify", writing.verify)}
WORDS = {word for _, word in OF_REPO} | {"resolve"}


def unknown(ask: Ask) -> Reply:
    raise Refusal(404, "Not found")


def find(ask: Ask, path: str) -> Endpoint:
    """The endpoint of a path; fills in the step and what the path says of the repository."""
    ask.step = "other"
    path = path.strip("/")
    if (ask.method, path) in GLOBAL:
        ask.step, endpoint = GLOBAL[ask.method, path]
        return endpoint
    parts = [unquote(part) for part in path.split("/")]
    if parts[0] == "api":
        if parts[1:2] not in (["models"], ["datasets"]):
            return unknown
        _locate(ask, parts[1].removesuffix("s"), parts[2:])
        ask.step, endpoint = OF_REPO.get((ask.method, ask.rest[0] if ask.rest else ""), ("other", unknown))
        return endpoint
    stored = parts[0] == "lfs"
    parts = parts[1:] if stored else parts
    kind = "dataset" if parts[0] == "datasets" else "model"
    parts = parts[1:] if kind == "dataset" else parts
    if stored and ask.method == "PUT":
        _locate(ask, kind, parts[:-1])
        ask.step, ask.path = "put", parts[-1]
        return writing.put
    if parts[-3:-1] == ["lfs", "objects"] and parts[-1] in LFS:
        _locate(ask, kind, "/".join(parts[:-4]).removesuffix(".git").split("/"))
        ask.step, endpoint = LFS[parts[-1]]
        return endpoint
    _locate(ask, kind, parts)
    if ask.rest[:1] == ["resolve"] and ask.method in ("HEAD", "GET"):
        if ask.rest[1] == "refs":  # a revision whose slashes were not quoted
            ask.rest[1:4] = ["/".join(ask.rest[1:4])]
        ask.step, ask.path = ask.method.lower(), "/".join(ask.rest[2:])
        return reading.resolve
    return unknown


def _locate(ask: Ask, kind: str, parts: list[str]) -> None:
    """Splits a path into the repository's id, of one or two parts, and the rest."""
    size = next((n for n in (2, 1) if len(parts) >= n and ask.store.get(kind, "/".join(parts[:n]))), None)
    if size is None:
        size = 1 if parts[1:] and parts[1] in WORDS else 2
    ask.kind, ask.repo_id = kind, "/".join(parts[:size])
    ask.repo, ask.rest = ask.store.get(kind, ask.repo_id), parts[size:]
