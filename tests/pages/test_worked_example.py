"""The page on contributing adds a criterion: its file is written, registered, used, and its own test is run."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from factcli import convert, load
from factcli.compress import criteria as criteria_folder
from factcli.errors import UsageError
from pages.numbers import ROOT

from ..compress.test_one_file import clean, recipe
from ..training_helpers import save_model, weights

__all__ = ["clean"]
PAGE = ROOT / "docs" / "contributing.md"


def blocks() -> dict[str, str]:
    """The titled blocks of Python on the page."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r'^```python title="([^"]+)"\n(.*?)^```$', text, re.M | re.S))


def test_the_criterion_of_the_page(tmp_path: Path, clean: None) -> None:
    code = blocks()
    file = tmp_path / "row_size.py"
    file.write_text(code["row_size.py"], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("factcli.compress.criteria.row_size", file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # as its folder would: relative imports hold

    tests: dict[str, object] = {}
    exec(compile(code["test_row_size.py"], "test_row_size.py", "exec"), tests)
    run = [value for name, value in tests.items() if name.startswith("test_")]
    assert run
    for one in run:
        assert callable(one)
        one()

    dense = str(save_model(tmp_path / "dense"))
    made = convert(dense, tmp_path / "small", config=recipe(tmp_path, criterion="row-size", row_power=6.0))
    assert made["criterion"] == "row-size"
    convert(dense, tmp_path / "plain", keep=0.5)
    name = "encoder.layer.0.attention.self.query.factor_in.weight"
    assert not torch.allclose(weights(tmp_path / "small")[name], weights(tmp_path / "plain")[name], atol=1e-3)
    assert load(tmp_path / "small").num_parameters() == load(tmp_path / "plain").num_parameters()
    with pytest.raises(UsageError, match="which is below 0"):
        convert(dense, config=recipe(tmp_path, criterion="row-size", row_power=-1.0), dry_run=True)


def test_the_list_of_the_page_is_that_of_the_folder() -> None:
    """The line that the page shows is today's, with the example at its end."""
    line = re.search(r"^from \. import ([\w, ]+?) *(?:#|$)", Path(criteria_folder.__file__).read_text("utf-8"), re.M)
    assert line is not None
    assert blocks()["__init__.py"].strip() == f"from . import {line[1].strip()}, row_size"
