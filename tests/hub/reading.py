"""Endpoints that read."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlencode

from . import rights
from .gitids import POINTER_SIZE, tree_ids
from .messages import Ask, Refusal, Reply
from .store import Commit, File, Repo

Row = TypeVar("Row")


def whoami(ask: Ask) -> Reply:
    rights.signed_in(ask)
    assert ask.access is not None
    return Reply(ask.access.whoami())


def auth_check(ask: Ask) -> Reply:
    """auth-check and auth-check/write."""
    if ask.rest[1:] == ["write"]:
        rights.writable(ask)
    else:
        rights.open_gate(ask)
    return Reply({})


def info(ask: Ask) -> Reply:
    """A repository at a revision; of a gated one everybody may see this much."""
    repo = rights.readable(ask)
    commit = rights.revision(repo, ask.rest[1] if len(ask.rest) > 1 else "main")
    siblings = [{"rfilename": path, **(_sibling(file) if ask.flag("blobs") else {})}
                for path, file in commit.files.items()]  # fmt: skip
    known = {
        "_id": repo.id, "id": repo.id, "author": repo.namespace or None, "sha": commit.oid, "lastModified": commit.date,
        "createdAt": repo.history(commit)[-1].date, "private": repo.private, "gated": "manual" if repo.gated else False,
        "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
    }  # fmt: skip
    if repo.kind == "model":
        known["modelId"] = repo.id
    if wanted := ask.query.get("expand", []) + ask.query.get("expand[]", []):
        known = {key: value for key, value in known.items() if key in ("_id", "id", *wanted)}
    return Reply(known, headers=_commit_header(commit))


def _sibling(file: File) -> dict[str, object]:
    if file.sha256 is None:
        return {"size": file.size, "blobId": file.oid}
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": POINTER_SIZE}
    return {"size": file.size, "blobId": file.oid, "lfs": lfs}


def _commit_header(commit: Commit) -> dict[str, str]:
    return {"X-Repo-Commit": commit.oid}


def _entry(repo: Repo, commit: Commit, path: str, trees: dict[str, str], expand: bool) -> dict[str, object]:
    file = commit.files.get(path)
    found: dict[str, object]
    if file is None:
        found = {"type": "directory", "oid": trees[path], "size": 0, "path": path}
    else:
        found = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.sha256:
            found["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": POINTER_SIZE}
    if expand:
        last = repo.last_change(commit, path)
        found["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
        if file is not None:
            found["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return found


def tree(ask: Ask) -> Reply:
    """Files and folders below a path."""
    repo = rights.readable(ask)
    commit = rights.revision(repo, ask.rest[1])
    folder = "/".join(ask.rest[2:]).strip("/")
    trees = tree_ids({path: file.oid for path, file in commit.files.items()})
    if folder not in trees:
        raise Refusal(404, f"{folder} does not exist on {ask.rest[1]!r}", "EntryNotFound")
    inside = folder + "/" if folder else ""
    below = [path for path in sorted({*commit.files, *trees} - {""}) if path.startswith(inside) and path != folder]
    if not ask.flag("recursive"):
        below = [path for path in below if "/" not in path[len(inside) :]]
    page, headers = _page(ask, below, 50 if ask.flag("expand") else 1000)
    entries = [_entry(repo, commit, path, trees, ask.flag("expand")) for path in page]
    return Reply(entries, headers=headers | _commit_header(commit))


def _page(ask: Ask, rows: Sequence[Row], most: int) -> tuple[Sequence[Row], dict[str, str]]:
    """One page of the rows, and the Link header to the next."""
    size = min(most, int(ask.query.get("limit", [str(most)])[0]))
    start = int(ask.query.get("cursor", ["0"])[0])
    if start + size >= len(rows):
        return rows[start:], {}
    query = urlencode({**{key: value[0] for key, value in ask.query.items()}, "cursor": start + size})
    return rows[start : start + size], {"Link": f'<{ask.url}?{query}>; rel="next"'}


def paths_info(ask: Ask) -> Reply:
    """Entries of the named paths that exist."""
    repo = rights.readable(ask)
    commit = rights.revision(repo, ask.rest[1])
    trees = tree_ids({path: file.oid for path, file in commit.files.items()})
    fields = ask.fields()
    paths = [path.strip("/") for path in fields.get("paths", [])]
    expand = fields.get("expand", [""])[0].lower() == "true"
    known = {*commit.files, *trees} - {""}
    return Reply([_entry(repo, commit, path, trees, expand) for path in paths if path in known])


def refs(ask: Ask) -> Reply:
    repo = rights.readable(ask)

    def rows(kind: str, found: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in found.items()]

    known = {"branches": rows("heads", repo.branches), "tags": rows("tags", repo.tags), "converts": []}
    if ask.flag("include_prs"):
        known["pullRequests"] = rows("pr", {str(number): oid for number, oid in repo.pulls.items()})
    return Reply(known)


def commits(ask: Ask) -> Reply:
    """The history of a revision, newest first."""
    repo = rights.readable(ask)
    history = repo.history(rights.revision(repo, ask.rest[1] if len(ask.rest) > 1 else "main"))
    page, headers = _page(ask, history, 50)
    rows = [{"id": one.oid, "title": one.title, "message": one.body, "authors": [{"user": one.author}],
             "date": one.date} for one in page]  # fmt: skip
    return Reply(rows, headers=headers)


def resolve(ask: Ask) -> Reply:
    """A file's bytes or, for HEAD, what is known of them."""
    repo = rights.open_gate(ask)
    commit = rights.revision(repo, ask.rest[1])
    assert ask.path is not None
    file = commit.files.get(ask.path)
    if file is None:
        refusal = Refusal(404, "Entry not found", "EntryNotFound").reply()
        refusal.headers |= _commit_header(commit)
        return refusal
    headers = _commit_header(commit) | {
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if file.sha256:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    return Reply(headers=headers, file=repo.blob(file))
