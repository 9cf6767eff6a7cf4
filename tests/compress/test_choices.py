"""What every choice keeps to: it loads without torch, it owns its options, and nobody else knows its name."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import factcli
from factcli.calibration.statistics import Statistics
from factcli.compress.allocations import allocations
from factcli.compress.criteria import Evidence, criteria
from factcli.compress.structures import structures
from factcli.errors import UsageError
from factcli.models.targets import Target
from factcli.recipe.factorizing import Recipe
from factcli.recipe.fields import declared
from factcli.recipe.file import make_recipe
from factcli.training.schedules import schedules

PACKAGE = Path(factcli.__file__).parent
NAMED_ELSEWHERE = {"activation", "fisher", "global", "sparsity"}  # words that mean something else as well


def test_choices_load_without_torch() -> None:
    code = """if True:
        import json, sys
        from factcli.compress.allocations import allocations
        from factcli.compress.criteria import criteria
        from factcli.compress.structures import structures
        from factcli.recipe.fields import declared
        from factcli.training.schedules import schedules
        kinds = (structures, criteria, allocations, schedules)
        options = [list(declared(kind[name].options)) for kind in kinds for name in kind]
        print(json.dumps([sorted({"torch", "transformers", "numpy"} & set(sys.modules)), options]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    loaded, options = json.loads(done.stdout)
    assert loaded == []
    assert ["blocks"] in options
    assert {"sparsity", "solver"} in [set(own) for own in options]


def test_the_core_names_no_choice() -> None:
    """Outside of their own files, of the layers that exports carry, and of the recipe, which has the defaults."""
    names = {*structures, *criteria, *allocations, *schedules} - NAMED_ELSEWHERE
    rooms = ("compress/structures", "compress/criteria", "compress/allocations", "training/schedules")
    rooms += ("remote_code", "recipe", "cli")
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno} {node.value}"
        for file in PACKAGE.rglob("*.py")
        if not file.relative_to(PACKAGE).as_posix().startswith(rooms)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found


def test_options_belong_to_those_who_have_them() -> None:
    owners = {name for name in structures if "blocks" in declared(structures[name].options)}
    assert owners == {"block-low-rank", "monarch"}
    owned = {name: set(declared(criteria[name].options)) for name in criteria}
    assert {n: own for n, own in owned.items() if own} == {"fisher": {"solver"}, "sparsity": {"sparsity", "solver"}}
    assert structures["monarch"].made(Recipe(blocks=8, keep=0.5)).own.blocks == 8
    kept = Recipe(method="low-rank", criterion="frobenius", blocks=8, sparsity="l1", keep=0.5).to_dict()
    assert not kept.keys() & {"blocks", "sparsity"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "monarch", "blocks": 0}, "--blocks 0 is below 1"),
        ({"criterion": "sparsity", "sparsity": "l7"}, "--sparsity 'l7' is unknown: take l0, l1, l2, entries"),
        ({"method": "monach"}, "did you mean 'monarch'"),
        ({"allocation": "locl"}, "known are uniform, global"),
    ],
)
def test_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_recipe(None, {"keep": 0.5, **values})


def test_the_solver_reaches_the_norm() -> None:
    """Where the projection is solved numerically; elsewhere the option has no effect, and is refused."""
    weights = torch.rand(3, 4)
    for solver in ("cg", "adam-sgd"):
        asked = Recipe(keep=0.5, criterion="fisher", solver=solver)
        given = Evidence(Target("x", (3, 4), True), Statistics(9, fisher=weights), weights)
        assert criteria["fisher"].made(asked).norm(given).solver == solver
        assert asked.to_dict().get("solver", "cg") == solver
        pruned = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
        chosen = asked.but(criterion="sparsity", sparsity="entries")
        entries = Evidence(Target("x", (2, 2), True), Statistics(0), pruned)
        assert criteria["sparsity"].made(chosen).norm(entries).solver == solver
    with pytest.raises(UsageError, match="--solver has no effect with --criterion sparsity, which has a closed form"):
        make_recipe(None, {"keep": 0.5, "criterion": "sparsity", "solver": "cg"})
