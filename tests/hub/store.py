"""Repositories: commits, branches, tags, pull requests, and the files' bytes on disk."""

import hashlib
import re
import shutil
import time
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from threading import RLock

from . import gitids

LFS_SIZE = 10 * 1024 * 1024
LFS_SUFFIXES = """
7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth rar
safetensors tar tflite tgz wasm xz zip zst
"""
ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES.split())


def matches(path: str, pattern: str) -> bool:
    """Whether a line of .gitignore or .gitattributes means the path; the common forms only."""
    pattern = pattern.strip("/")
    return any(fnmatch(name, pattern) for name in (path, *path.split("/"))) or path.startswith(pattern + "/")


@dataclass(frozen=True)
class File:
    """A file of a commit: `oid` is git's id of the blob, or of the pointer where `sha256` says it is in LFS."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    files: dict[str, File]
    title: str
    body: str
    author: str
    seconds: int

    @property
    def date(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.seconds))


@dataclass
class Repo:
    """One repository; `granted` are the users outside its namespace who may read a gated one."""

    kind: str
    id: str
    folder: Path
    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0] if "/" in self.id else ""

    @property
    def prefix(self) -> str:
        """The id as URLs outside the API have it."""
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, pull request, commit id, or the first seven or more digits of one."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(name) or self.tags.get(name)
        if oid is None and (pull := re.fullmatch(r"refs/pr/(\d+)", revision)):
            oid = self.pulls.get(int(pull[1]))
        if oid is None and re.fullmatch("[0-9a-f]{7,40}", revision):
            oid = next((known for known in self.commits if known.startswith(revision)), None)
        return self.commits[oid] if oid else None

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def history(self, commit: Commit) -> list[Commit]:
        """The commit and its ancestors, newest first."""
        found = [commit]
        while found[-1].parent:
            found.append(self.commits[found[-1].parent])
        return found

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that last touched a file or anything in a folder."""

        def state(one: Commit) -> list[tuple[str, File]]:
            return sorted((p, f) for p, f in one.files.items() if p == path or p.startswith(path + "/"))

        history = self.history(commit)
        now = state(commit)
        for newer, older in pairwise(history):
            if state(older) != now:
                return newer
        return history[-1]

    def blob(self, file: File) -> Path:
        return self.large(file.sha256) if file.sha256 else self.folder / "blobs" / file.oid

    def large(self, sha256: str) -> Path:
        return self.folder / "lfs" / sha256

    def read(self, path: str, revision: str = "main") -> bytes:
        """The bytes of a file, for assertions."""
        commit = self.resolve(revision)
        assert commit is not None, revision
        return self.blob(commit.files[path]).read_bytes()

    def text(self, commit: Commit, path: str) -> str:
        """A regular file of a commit, empty where there is none."""
        return self.blob(commit.files[path]).read_text() if path in commit.files else ""

    def is_large(self, commit: Commit, path: str, size: int) -> bool:
        """Whether a file goes to LFS: by its size, or by the commit's .gitattributes."""
        lines = [line.split() for line in self.text(commit, ".gitattributes").splitlines()]
        return size > LFS_SIZE or any("filter=lfs" in line and matches(path, line[0]) for line in lines)

    def keep_regular(self, data: bytes) -> File:
        file = File(gitids.object_id("blob", data), len(data))
        self.blob(file).write_bytes(data)
        return file

    def keep_large(self, data: bytes) -> File:
        self.large(sha256 := hashlib.sha256(data).hexdigest()).write_bytes(data)
        return self.large_file(sha256)

    def large_file(self, sha256: str) -> File:
        """The file of an object that was uploaded."""
        size = self.large(sha256).stat().st_size
        return File(gitids.object_id("blob", gitids.pointer(sha256, size)), size, sha256)

    def commit(self, files: dict[str, File], title: str, body: str, author: str, parent: Commit | None) -> Commit:
        """A commit with these files, on no branch yet."""
        files = dict(sorted(files.items()))
        seconds = int(time.time())
        tree = gitids.tree_ids({path: file.oid for path, file in files.items()})[""]
        above = parent.oid if parent else None
        oid = gitids.commit_id(tree, above, author, seconds, f"{title}\n\n{body}" if body else title)
        made = Commit(oid, above, files, title, body, author, seconds)
        self.commits[oid] = made
        return made


class Store:
    """All repositories below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = RLock()
        self.repos: dict[tuple[str, str], Repo] = {}

    def get(self, kind: str, repo_id: str) -> Repo | None:
        return self.repos.get((kind, repo_id))

    def create(self, kind: str, repo_id: str, author: str, private: bool = False, gated: bool = False) -> Repo:
        """A repository whose first commit holds .gitattributes alone, as on the Hub."""
        folder = self.folder / f"{kind}s" / repo_id.replace("/", "--")
        for name in ("blobs", "lfs"):
            (folder / name).mkdir(parents=True)
        repo = Repo(kind, repo_id, folder, private, gated)
        first = repo.commit(
            {".gitattributes": repo.keep_regular(ATTRIBUTES.encode())}, "initial commit", "", author, None
        )
        repo.branches["main"] = first.oid
        self.repos[kind, repo_id] = repo
        return repo

    def delete(self, repo: Repo) -> None:
        del self.repos[repo.kind, repo.id]
        shutil.rmtree(repo.folder)
