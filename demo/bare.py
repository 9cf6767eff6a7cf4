"""An interpreter that has this environment's packages but cannot import factcli."""

import sysconfig
import venv
from pathlib import Path


def make(folder: Path) -> Path:
    """A bare virtual environment in `folder`; returns its Python.

    It sees the packages installed here through a path file. Path files are not followed twice, so the editable install
    of factcli stays out.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"
