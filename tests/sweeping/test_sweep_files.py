"""What a file says: options that name places, runs that are the same, circles, and plans that cannot be."""

import logging
from pathlib import Path

import pytest

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.sweeping.identity import code_version
from factcli.sweeping.options import _OWNED, COMMANDS, FILES, PLACES
from factcli.sweeping.product import _fill

from ..training_helpers import save_model
from .helpers import write_sweep


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_option_that_names_a_file_is_known_as_one() -> None:
    paths = {name for command in COMMANDS.values() for name, one in command.keywords.items() if Path in one.kinds}
    assert {"heal", "train", "data_dir", "config"} <= paths
    assert paths <= {*PLACES, *FILES, *_OWNED, "models"}


def test_texts_to_heal_on_count(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, command="convert", shared=None, exclude=None,
                       options={"model": "bert", "keep": 0.5, "heal": "h.csv"}, grid={"seed": [1]})  # fmt: skip
    found = []
    for text in ("text\none\n", "text\ntwo\n"):
        (tmp_path / "h.csv").write_text(text)
        found.append(factcli.sweep(file, "out", status=True)["runs"][0]["id"])
    assert found[0] != found[1]


def test_rooms_that_decide_a_number_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from factcli.sweeping import identity

    assert not identity._ASIDE & {"runtimes", "measuring"}
    assert code_version().startswith(f"{factcli.__version__}+")


def test_two_runs_that_are_the_same(tmp_path: Path) -> None:
    rows = {"staged": {"keep": 0.5}, "direct": {"keep": 0.5}}
    with pytest.raises(UsageError) as refused:
        factcli.sweep(write_sweep(tmp_path, exclude=None, grid={"row": rows, "seed": [1]}), dry_run=True)
    assert "the runs row=staged, seed=1 and row=direct, seed=1 are the same, option for option" in str(refused.value)


@pytest.mark.parametrize("variables", [{"glue": "{glue}/x"}, {"glue": "{a}", "a": "{b}/x", "b": "{a}"}])
def test_a_circle_of_variables(tmp_path: Path, variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"goes in a circle: \{(glue|a)\} is filled in with itself\."):
        factcli.sweep(write_sweep(tmp_path, variables=variables), dry_run=True)


def test_what_is_filled_in() -> None:
    known = {"a": "x", "b": "{a}/y", "n": 3, "list": ["{b}", 1]}
    assert [_fill(value, known, "") for value in ("{a}-{b}-{a}", "{n}", "n={n}", "{list}", ["{b}"])] == [
        "x-x/y-x", 3, "n=3", ["x/y", 1], ["x/y"]
    ]  # fmt: skip


def test_one_plan_that_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    save_model(tmp_path / "bert")
    file = write_sweep(tmp_path, command="convert", shared=None, exclude=None,
                       options={"model": "bert", "method": "low-rank"}, grid={"keep": [0.0001, 0.5]})  # fmt: skip
    found = factcli.sweep(file, dry_run=True)
    small, half = found["runs"]
    assert small["error"].startswith("--keep 0.0001 is below what rank 1 costs: the feasible range is")
    assert small["result"] is None
    assert "error" not in half
    assert half["result"]["parameters"] == factcli.convert("bert", dry_run=True, keep=0.5)["parameters"]
    assert found["totals"] == {"runs": 2, "planned": 2, "running": 0, "done": 0, "failed": 0}
    assert "Sizes are not known" not in caplog.text


def test_models_that_are_not_at_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is not downloaded says nothing of sizes, and is no mistake of the file."""
    caplog.set_level(logging.WARNING)
    options, grid = {"method": "low-rank", "keep": 0.5}, {"model": ["nobody/a", "nobody/b"]}
    file = write_sweep(tmp_path, command="convert", shared=None, exclude=None, options=options, grid=grid)
    found = factcli.sweep(file, dry_run=True)
    assert [(run["result"], run.get("error")) for run in found["runs"]] == [(None, None)] * 2
    assert "Sizes are not known before nobody/a, nobody/b are at hand." in caplog.text


@pytest.mark.parametrize(("content", "said"), [(None, "No such file or directory"), (b"keep: \xff", "can't decode")])
def test_a_recipe_of_a_run_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "r.yaml").write_bytes(content)
    file = write_sweep(tmp_path, command="convert", shared=None, exclude=None,
                       options={"model": "bert", "config": "r.yaml"}, grid={"seed": [1]})  # fmt: skip
    with pytest.raises(FactcliError, match=rf"Cannot read .*r\.yaml, the config of a run: .*{said}"):
        factcli.sweep(file, "out", ray="none")
    assert not (tmp_path / "out").exists()
