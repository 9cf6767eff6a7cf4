"""Endpoints that change something."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from . import rights
from .messages import Ask, Refusal, Reply
from .store import File, Repo, matches


def _named(ask: Ask) -> tuple[str, str]:
    """The namespace and the id that the body of create and delete names."""
    rights.signed_in(ask)
    assert ask.access is not None
    body = ask.json()
    namespace = body.get("organization") or ask.access.user
    ask.repo_id = f"{namespace}/{body['name']}"
    return namespace, ask.repo_id


def create(ask: Ask) -> Reply:
    namespace, repo_id = _named(ask)
    body = ask.json()
    kind = body.get("type") or "model"
    private = body.get("visibility") == "private" or bool(body.get("private"))
    assert ask.access is not None
    if not ask.access.may_write(namespace):
        raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,95}", body["name"]) or kind not in ("model", "dataset"):
        raise Refusal(400, f"Invalid repo name: {repo_id}")
    address = ask.url.removesuffix("/api/repos/create")
    with ask.store.lock:
        repo = ask.store.get(kind, repo_id)
        if repo is not None:
            raise Refusal(409, f"You already created this {kind} repo: {repo_id}", url=f"{address}/{repo.prefix}")
        repo = ask.store.create(kind, repo_id, ask.access.user, private)
    return Reply({"url": f"{address}/{repo.prefix}", "name": repo_id, "private": private})


def delete(ask: Ask) -> Reply:
    _, repo_id = _named(ask)
    ask.repo = ask.store.get(ask.json().get("type") or "model", repo_id)
    with ask.store.lock:
        ask.store.delete(rights.writable(ask))
    return Reply({})


def settings(ask: Ask) -> Reply:
    repo = rights.writable(ask)
    body = ask.json()
    if "visibility" in body or "private" in body:
        repo.private = body.get("visibility") == "private" or bool(body.get("private"))
    if "gated" in body:
        repo.gated = bool(body["gated"])
    return Reply({"private": repo.private, "gated": repo.gated})


def validate_yaml(ask: Ask) -> Reply:
    """Looks at the front matter's outline, without a YAML parser."""
    lines = str(ask.json().get("content", "")).splitlines()
    if not lines or lines[0].rstrip() != "---":
        return Reply({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    errors = []
    ends = [number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"]
    if not ends:
        errors.append("the metadata block is not closed")
    for number, line in enumerate(lines[1 : ends[0] if ends else None], 2):
        if line.startswith("\t"):
            errors.append(f"line {number}: a tab indents")
        elif line and not re.match(r"""( |#|- |-$|[\]}]|["']?[\w.-]+["']?:(\s|$))""", line):
            errors.append(f"line {number}: neither a key nor an item")
    if errors:
        raise Refusal(400, "Invalid metadata", errors=[{"message": message} for message in errors], warnings=[])
    return Reply({"errors": [], "warnings": []})


def preupload(ask: Ask) -> Reply:
    """How each file is to be sent, and the id of the one that is there already."""
    repo = rights.writable(ask, pull_request=ask.flag("create_pr") or ask.rest[1].startswith("refs/pr/"))
    commit = rights.revision(repo, ask.rest[1])
    body = ask.json()
    ignored = [line for line in (body.get("gitIgnore") or repo.text(commit, ".gitignore")).splitlines() if line]
    rows = []
    for asked in body["files"]:
        path, size = asked["path"], asked["size"]
        mode = "lfs" if repo.is_large(commit, path, size) else "regular"
        row = {"path": path, "uploadMode": mode, "shouldIgnore": any(matches(path, one) for one in ignored)}
        if path in commit.files:
            row["oid"] = commit.files[path].etag
        rows.append(row)
    return Reply({"files": rows, "commitOid": commit.oid})


def lfs_batch(ask: Ask) -> Reply:
    """Where to put each object; none for those that are there. A branch that is named must be writable."""
    body = ask.json()
    repo = rights.writable(ask, pull_request="ref" not in body or body["ref"]["name"].startswith("refs/pr/"))
    address = ask.url[: -len(f"/{repo.prefix}.git/info/lfs/objects/batch")]
    rows = []
    for asked in body["objects"]:
        row = {"oid": asked["oid"], "size": asked["size"]}
        if not repo.large(asked["oid"]).exists():
            row["actions"] = {
                "upload": {"href": f"{address}/lfs/{repo.prefix}/{asked['oid']}?size={asked['size']}"},
                "verify": {"href": f"{address}/{repo.prefix}.git/info/lfs/objects/verify"},
            }
        rows.append(row)
    return Reply({"transfer": "basic", "objects": rows})


def put(ask: Ask) -> Reply:
    """An object's bytes; the address is the permission, as with signed ones."""
    if ask.repo is None:
        raise Refusal(404, "Not found")
    if len(ask.body) != int(ask.query["size"][0]) or hashlib.sha256(ask.body).hexdigest() != ask.path:
        raise Refusal(400, "the bytes are not those of the object's name")
    ask.repo.keep_large(ask.body)
    return Reply()


def verify(ask: Ask) -> Reply:
    repo = rights.writable(ask, pull_request=True)
    body = ask.json()
    path = repo.large(body["oid"])
    if not path.exists() or path.stat().st_size != body["size"]:
        raise Refusal(404, "the object is not there")
    return Reply({})


def commit(ask: Ask) -> Reply:
    """All of a commit's operations, or none."""
    pull_request = ask.flag("create_pr")
    target = ask.rest[1]
    number = int(found[1]) if (found := re.fullmatch(r"refs/pr/(\d+)", target)) else None
    repo = rights.writable(ask, pull_request=pull_request or number is not None)
    assert ask.access is not None
    try:
        lines = [json.loads(line) for line in ask.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
    except (ValueError, KeyError, StopIteration):
        raise Refusal(400, "the commit cannot be read") from None
    with ask.store.lock:
        parent = rights.revision(repo, target)
        if not pull_request and number is None and target.removeprefix("refs/heads/") not in repo.branches:
            raise Refusal(404, f"Invalid rev id: {target}", "RevisionNotFound")
        if header.get("parentCommit") not in (None, parent.oid):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(parent.files)
        for line in lines:
            if line["key"] != "header":
                _operate(repo, files, line["key"], line["value"])
        made = repo.commit(files, header["summary"], header.get("description", ""), ask.access.user, parent)
        address = f"{ask.url[: ask.url.index('/api/')]}/{repo.prefix}"
        answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{address}/commit/{made.oid}"}
        if pull_request:
            number = max(repo.pulls, default=0) + 1
            answer["pullRequestUrl"] = f"{address}/discussions/{number}"
        if number is not None:
            repo.pulls[number] = made.oid
        else:
            repo.branches[target.removeprefix("refs/heads/")] = made.oid
    return Reply(answer)


def _operate(repo: Repo, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = repo.keep_regular(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        if not repo.large(value["oid"]).exists():
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = repo.large_file(value["oid"])
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    elif key == "deletedFolder":
        inside = [known for known in files if known.startswith(path.rstrip("/") + "/")]
        if not inside:
            raise Refusal(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
        for known in inside:
            del files[known]
    else:
        raise Refusal(400, f"no such operation: {key}")


def branch(ask: Ask) -> Reply:
    """Creates or deletes a branch."""
    repo = rights.writable(ask)
    name = ask.rest[1]
    if ask.method == "DELETE" and name == "main":
        raise Refusal(403, "Cannot delete the branch main")
    return _refer(ask, repo, repo.branches, name, lambda: ask.json().get("startingPoint") or "main")


def tag(ask: Ask) -> Reply:
    """Creates a tag on a revision, or deletes one."""
    repo = rights.writable(ask)
    name = ask.rest[1] if ask.method == "DELETE" else ask.json()["tag"]
    return _refer(ask, repo, repo.tags, name, lambda: ask.rest[1])


def _refer(ask: Ask, repo: Repo, names: dict[str, str], name: str, revision: Callable[[], str]) -> Reply:
    with ask.store.lock:
        if ask.method == "DELETE":
            if names.pop(name, None) is None:
                raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        elif name in names:
            raise Refusal(409, f"Reference already exists: {name}")
        elif name.startswith("refs/"):
            raise Refusal(400, f"Invalid reference for a branch: {name}")
        else:
            names[name] = rights.revision(repo, revision()).oid
    return Reply({})
