"""The exported code: known by its digests, calling public API only; exports of earlier code read as they were."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factcli import FactcliError, convert, evaluate, finetune, inspect, load
from factcli.remote_code import CODE, EARLIER, FILES, LAYER_VERSIONS, VERSIONS, digest, foreign_code

from . import tiny
from .training_helpers import rows, write_csv

EXPORTS = Path(__file__).parent / "data" / "exports-1"  # made with the first of VERSIONS
EXPECTED: dict[str, dict[str, Any]] = json.loads((EXPORTS / "expected.json").read_text())
# A copy of what went into exports: an entry that was changed there, and not added, fails here.
RELEASED = (
    (
        "7ce5eb869eac2143bfa9191222e8c5f315fd743bb07e45ce4922d6b996127d6c",
        "dcc037612acc2235ed9106a212a343e3bcfbfd81d0a3203f1b2a496b97d68dc5",
    ),
    (
        "7ce5eb869eac2143bfa9191222e8c5f315fd743bb07e45ce4922d6b996127d6c",
        "db1297d1eebdff11f4a590aadddb4b0da786881db4cff781870c560b8aa9b943",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "8877d12fc359b921ab94a80223dbb7a1ab1f1e20086ec37f9980fb34d9047901",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "6d7607221e2ac7fe40aecb7571f4784dab8ee4c054d7e92695b54d7a67296caf",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "d256b9f336261445ae210041892d5eab3b5534907ef845b9e0f7c48b339dcfcf",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "e1a54cd4d0898c0f7bd058ecabc6e907be5332be90a247a91633aefce41849a8",
    ),
    (
        "8e047ea14bd82496682829d987ad2ebf2e45b61122af7fe070cc87df5a311930",
        "87ca2928902855187d85cde5d55e30b0e02139f587a438501164b0075d618862",
        "f31fd8872e41bae385a0fcf8176b47d1b687a9fa290b4eb41d5f9b29cb6f785a",
        "1ef5a6a0e526d1ee86355be3b520286d6376fc94abea66cf8c2761063401fff4",
    ),
)
RELEASED_LAYERS = {
    "modeling_pivoted.py": ("532190568c864149cbed1991a272c441dd593ff68a4a47c043606c787175f8c3",),
}


def test_today_s_files_are_the_last_version_and_no_version_is_gone() -> None:
    """Who changes a file that goes into exports adds its digest to VERSIONS, and here: those before stay known."""
    assert tuple(digest(file) for file in FILES) == VERSIONS[-1]
    assert VERSIONS == RELEASED
    assert {file.name: digest(file) for file in CODE[len(FILES) :]} == {n: v[-1] for n, v in LAYER_VERSIONS.items()}
    assert LAYER_VERSIONS == RELEASED_LAYERS
    assert {d for version in RELEASED[:-1] for d in version} <= EARLIER


def test_files_of_earlier_versions_are_ours_and_others_are_not(tmp_path: Path) -> None:
    for name in EXPECTED:
        assert tuple(digest(EXPORTS / name / file.name) for file in FILES[:2]) == RELEASED[0]
        assert foreign_code(EXPORTS / name) is None
    shutil.copytree(EXPORTS / "low-rank", tmp_path / "changed")
    with (tmp_path / "changed" / "modeling_factorized.py").open("a") as file:
        file.write("# another line\n")
    with pytest.raises(FactcliError, match="is not factcli's"):
        load(tmp_path / "changed")
    assert type(load(tmp_path / "changed", trust_remote_code=True)).__module__.startswith("transformers_modules")


@pytest.mark.parametrize("file", CODE, ids=[f.name for f in CODE])
def test_only_public_names_of_others_are_used(file: Path) -> None:
    tree = ast.parse(file.read_text())
    own = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    private = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")}
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    private |= {s for s in strings if s.startswith("_") and s.isidentifier()}  # getattr(x, "_private")
    asked = {"_tied_weights_keys"}  # what transformers has every class of models say
    assert {name for name in private if not (name.startswith("__") and name.endswith("__"))} <= own | asked
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert not [name for name in imported if name.startswith("_")]


@pytest.mark.parametrize("name", list(EXPECTED))
def test_exports_of_the_first_version_answer_as_they_did(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    shutil.copytree(EXPORTS / name, tmp_path / name)
    with torch.inference_mode():
        logits = load(tmp_path / name).eval()(input_ids=torch.tensor(expected["input_ids"])).logits.float()
    torch.testing.assert_close(logits, torch.tensor(expected["logits"]), atol=1e-4, rtol=1e-4)
    about = inspect(tmp_path / name)
    assert {key: about[key] for key in expected["inspect"]} == expected["inspect"]
    scored = evaluate(str(tmp_path / name), validation=EXPORTS / "texts.csv")[0]
    assert {key: scored[key] for key in expected["evaluate"]} == expected["evaluate"]


def test_an_export_of_the_first_version_is_trained_further(tmp_path: Path) -> None:
    """Its precision stays what it was, its code becomes today's."""
    data = write_csv(tmp_path / "data.csv", rows(8, 5))
    done = finetune(
        str(EXPORTS / "monarch"), tmp_path / "out", train=data, validation=data, max_steps=1, batch_size=8
    )  # fmt: skip
    assert done["steps"] == 1
    assert tuple(digest(tmp_path / "out" / file.name) for file in FILES) == VERSIONS[-1]
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    assert tensors.keys() == load_file(EXPORTS / "monarch" / "model.safetensors").keys()


ALONE = """if True:
    import json, sys, torch
    from transformers import AutoModelForSequenceClassification
    for name, expected in json.load(open(sys.argv[1] + "/expected.json")).items():
        path, ids = sys.argv[1] + "/" + name, torch.tensor(expected["input_ids"])
        model = AutoModelForSequenceClassification.from_pretrained(path, trust_remote_code=True, dtype="auto").eval()
        with torch.inference_mode():
            logits = model(input_ids=ids).logits.float()
        torch.testing.assert_close(logits, torch.tensor(expected["logits"]), atol=1e-4, rtol=1e-4)
"""


@pytest.mark.parametrize("run", ["stranger", "stranger_4"], ids=["today", "transformers-4"])
def test_exports_of_the_first_version_load_by_their_own_code(run: str, request: pytest.FixtureRequest) -> None:
    done = request.getfixturevalue(run)("-c", ALONE, str(EXPORTS))
    assert done.returncode == 0, done.stderr


def test_saving_again_takes_the_code_along(tmp_path: Path) -> None:
    """From this process too, where the class is not one of the model's own files."""
    tiny.make("bert", "BertForMaskedLM").save_pretrained(tmp_path / "dense")
    convert(str(tmp_path / "dense"), tmp_path / "out", keep=0.5)
    load(tmp_path / "out").save_pretrained(tmp_path / "again")
    assert tuple(digest(tmp_path / "again" / file.name) for file in FILES) == VERSIONS[-1]
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["auto_map"] == json.loads((tmp_path / "out" / "config.json").read_text())["auto_map"]
