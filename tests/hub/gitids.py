"""Object ids as git computes them."""

import hashlib
from collections.abc import Iterable

POINTER_SIZE = 134  # what the Hub reports for every LFS pointer


def object_id(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git holds in place of a file in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_ids(blobs: dict[str, str]) -> dict[str, str]:
    """The id of every folder ("": the root) of a flat map from paths to blob ids."""
    found: dict[str, str] = {}

    def walk(folder: str, paths: Iterable[str]) -> str:
        here: dict[str, list[str]] = {}
        for path in paths:
            here.setdefault(path[len(folder) :].split("/")[0], []).append(path)
        entries = []
        for name, inside in here.items():
            if inside == [folder + name]:
                entries.append((name, b"100644", blobs[inside[0]]))
            else:
                entries.append((name + "/", b"40000", walk(f"{folder}{name}/", inside)))
        entries.sort(key=lambda entry: entry[0].encode())  # git sorts folders as if their names ended in a slash
        data = b"".join(
            mode + b" " + name.rstrip("/").encode() + b"\0" + bytes.fromhex(oid) for name, mode, oid in entries
        )
        found[folder.rstrip("/")] = object_id("tree", data)
        return found[folder.rstrip("/")]

    walk("", blobs)
    return found


def commit_id(tree: str, parent: str | None, author: str, seconds: int, message: str) -> str:
    lines = [f"tree {tree}"] + ([f"parent {parent}"] if parent else [])
    who = f"{author} <{author}@users.noreply.invalid> {seconds} +0000"
    return object_id("commit", "\n".join([*lines, f"author {who}", f"committer {who}", "", message]).encode())
