"""Files of a directory and what is behind their names: symbolic links are followed inside the directory only."""

import os
import re
from pathlib import Path

from ..errors import FactcliError


def names_in(folder: Path) -> list[str]:
    """Every file below `folder` (relative, posix, sorted). A link to a directory is walked where it stays inside and
    is no loop; one that leaves is listed by its own name, and so are a link to nothing and a hidden directory."""
    root = folder.resolve()
    found: list[str] = []

    def walk(place: Path, above: tuple[Path, ...]) -> None:
        for name in sorted(os.listdir(place)):
            path = place / name
            if path.is_dir() and not name.startswith(".") and os.access(path, os.R_OK | os.X_OK):
                target = path.resolve()
                if not target.is_relative_to(root):
                    found.append(path.relative_to(root).as_posix())
                elif target not in above:
                    walk(path, (*above, target))
            elif path.is_file() or path.is_symlink() or path.is_dir():
                found.append(path.relative_to(root).as_posix())

    walk(root, (root,))
    return sorted(found)


def within(folder: Path, name: str) -> bool:
    """Whether `name` is a file that lies in `folder`, itself or behind a link that does not leave it nor leads to a
    hidden file, or is a Hub cache's own link to a blob."""
    root, target = folder.resolve(), _target(folder, name)
    if target is None:
        return False
    if target.is_relative_to(root):
        return target == root / name or not any(p.startswith(".") for p in target.relative_to(root).parts)
    return _is_blob(root, name, target)


def is_plain(folder: Path, name: str) -> bool:
    """Whether `name` is a file of `folder` itself, with no link on the way but a Hub cache's own."""
    root, target = folder.resolve(), _target(folder, name)
    return target is not None and (target == root / name or _is_blob(root, name, target))


def inside(folder: Path, name: str, of: str) -> Path:
    """The path of `name` in `folder`. Raises FactcliError, naming the model `of`, where it is a link that leaves."""
    if not within(folder, name):
        raise FactcliError(
            f"{name} of {of} is a link that leads out of the directory, or nowhere: put the file itself there, or "
            "remove the link."
        )
    return folder / name


def read_text(folder: Path, name: str, of: str) -> str:
    """The text of `name` in `folder`. Raises FactcliError where it leaves the directory or is not UTF-8."""
    path = inside(folder, name, of)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FactcliError(f"{name} of {of} cannot be read: {' '.join(str(error).split())}") from error


def _target(folder: Path, name: str) -> Path | None:
    try:
        target = (folder.resolve() / name).resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, or a loop
        return None
    return target if target.is_file() else None


def _is_blob(root: Path, name: str, target: Path) -> bool:
    # models--OWNER--NAME/snapshots/COMMIT/file -> ../../blobs/HASH, itself a file or a link into the store that the
    # cache's repositories share. Neither directory of blobs may be a link, or the snapshot could name any file.
    repository = root.parents[1] if len(root.parents) > 1 else root
    if root.parent.name != "snapshots" or not repository.name.startswith("models--"):
        return False
    link = root / name
    hop = Path(os.path.normpath(link.parent / os.readlink(link))) if link.is_symlink() else link
    shared = repository.parent / "blobs"
    blobs = repository / "blobs"
    return hop.parent.resolve() == blobs and (
        target.parent == blobs
        or (target.parents[1] == shared and re.fullmatch("[0-9a-f]{64}", target.name) is not None)
    )
