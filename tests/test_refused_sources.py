"""Sources that cannot be read: one sentence that says what to do, and nothing half written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import factcli
from factcli.errors import FactcliError

from . import rights, tiny
from .test_bad_input import fail  # noqa: F401  (a fixture)
from .test_reload import save_with_tokenizer

Fail = Callable[..., str]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model, and its export."""
    folder = tmp_path_factory.mktemp("saved")
    save_with_tokenizer(tiny.make("bert"), folder / "bert", {"tokenizer_class": "BertTokenizer"})
    factcli.convert(str(folder / "bert"), folder / "export", keep=0.5)
    return folder


@pytest.fixture
def bert(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "bert", tmp_path / "bert"))


@pytest.fixture
def export(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "export", tmp_path / "export"))


def configure(folder: Path, **values: Any) -> None:
    raw = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def no_class(folder: Path) -> None:
    configure(folder, model_type="siglip_text_model", architectures=None)


def another_file(folder: Path) -> None:
    configure(folder, transformers_weights="other.safetensors")


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{")


def uneven_heads(folder: Path) -> None:
    configure(folder, num_attention_heads=5)


def modules_alone(folder: Path) -> None:
    (folder / "0_Transformer").mkdir()
    for file in ("config.json", "model.safetensors"):
        (folder / file).rename(folder / "0_Transformer" / file)
    (folder / "modules.json").write_text("[]")


def strange_type(folder: Path) -> None:
    """Numbers of 6 bits, which torch has no type for."""
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"more": torch.zeros(3, dtype=torch.uint8)}, file)
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["more"] |= {"dtype": "F6_E2M3", "shape": [4]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_class, "has model_type 'siglip_text_model', which has no base model class: name its class"),
        (another_file, "has no weights: other.safetensors, which config.json names, is missing."),
        (broken_index, "model.safetensors.index.json cannot be read: fetch the model again."),
        (uneven_heads, "cannot be loaded as BertModel: The hidden size (32) is not a multiple of"),
        (modules_alone, "convert that of a transformer (0_Transformer), put the export in its place and its two"),
        (strange_type, "model.safetensors has more as F6_E2M3, which cannot be read: remove it."),
    ],
)
def test_convert(change: Callable[[Path], None], said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    change(bert)
    assert said in fail("convert", bert, "--keep", "0.5", "-o", tmp_path / "out")


def test_a_model_that_its_class_refuses(export: Path, fail: Fail) -> None:  # noqa: F811
    """Read at once, without a look at its outline before."""
    uneven_heads(export)
    assert "cannot be loaded as FactorizedBertModel: The hidden size" in fail("bench", export)


@pytest.mark.parametrize(
    ("name", "said"),
    [("vocab.txt", "vocab.txt of {} may not be read: change its rights."),
     ("model.safetensors", "{}/model.safetensors cannot be read: change its rights.")],
)  # fmt: skip
def test_no_right_to_read(
    name: str, said: str, bert: Path, tmp_path: Path, fail: Fail, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    (bert / name).chmod(0)
    rights.heed(monkeypatch)
    assert said.format(bert) in fail("convert", bert, "--keep", "0.5", "-o", tmp_path / "out")


def test_two_revisions(tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    asked = ("convert", "someone/bert@main", "--revision", "dev", "--keep", "0.5", "-o", tmp_path / "out")
    said = fail(*asked, code=2)
    assert "names a revision, and --revision dev another one: leave one of them out." in said


def test_a_newer_format(export: Path, fail: Fail) -> None:  # noqa: F811
    raw = json.loads((export / "config.json").read_text())
    configure(export, factorization=raw["factorization"] | {"format_version": 99})
    assert "was made by a newer factcli: upgrade to read it." in fail("bench", export)


@pytest.mark.parametrize(
    ("change", "said"),
    [("architectures", 'does not name the class OtherModel that "architectures" there does: name it in both.'),
     ("auto_map", "does not name the class FactorizedBertModel that"),
     ("code", "that does not give its model class FactorizedBertModel: unfinished"),
     ("class", "that does not give its model class FactorizedBertModel: module .* has no attribute")],
)  # fmt: skip
def test_trusted_code_without_the_class(change: str, said: str, export: Path) -> None:
    """Whatever it raises as it is run."""
    file = export / "modeling_factorized.py"
    if change == "architectures":
        file.write_text(file.read_text() + "\n# changed\n")
        configure(export, architectures=["OtherModel"])
    elif change == "auto_map":
        file.write_text(file.read_text() + "\n# changed\n")
        named = json.loads((export / "config.json").read_text())["auto_map"]
        own = named["AutoModel"].partition(".")[0]
        configure(export, auto_map={k: v for k, v in named.items() if k == "AutoConfig"} | {"AutoModel": f"{own}.None"})
    else:
        file.write_text("raise RuntimeError('unfinished')" if change == "code" else "")
    with pytest.raises(FactcliError, match=f"has code of its own.* {said}"):
        factcli.load(export, trust_remote_code=True)
