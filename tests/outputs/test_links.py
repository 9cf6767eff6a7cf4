"""A link stays, and what it points to is written."""

import os
from pathlib import Path

import factcli

from .helpers import refuse


def test_a_link_stands_for_what_it_points_to(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "out").symlink_to("disk/model")
    result = factcli.convert("models/dense", "out", keep=0.5)  # what it points to was not there
    assert result["output"] == "out"
    refuse(place, "out exists: give --overwrite", lambda: factcli.convert("models/dense", "out", keep=0.4))
    before = (place / "disk" / "model" / "config.json").read_bytes()
    factcli.convert("models/dense", "out", keep=0.4, overwrite=True)
    assert os.readlink(place / "out") == "disk/model"
    assert (place / "disk" / "model" / "config.json").read_bytes() != before
    assert [p.name for p in (place / "disk").iterdir()] == ["model"]
    assert sorted(p.name for p in place.iterdir()) == ["disk", "glue", "models", "out"]
