"""What an export takes from its source: by the names that loaders look for and the source's own configuration files."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoTokenizer

from factcli import FactcliError, convert, evaluate, remote_code
from factcli.compress.plan import Plan
from factcli.hub.download import damaged
from factcli.models.carried import Survey, survey, survey_directory
from factcli.models.export import export_config, write_small_files
from factcli.models.model import find_model
from factcli.models.tokenizers import name_classes
from factcli.publishing.files import export_files

from . import tiny
from .hub import HubServer
from .hub_client import HubClient
from .test_reload import save_with_tokenizer

ST = "sentence_transformers.models."
OURS = {"README.md", "config.json", "configuration_factorized.py", "factcli_recipe.yaml", "model.safetensors",
        "embeddings_factorized.py", "kernels_factorized.py", "modeling_factorized.py"}  # fmt: skip
JUNK = {
    "checkpoint-500/trainer_state.json": "{}", "checkpoint-500/tokenizer.json": "{}", "checkpoint-500/optimizer.pt": "",
    "data/train.json": "[]", "train.csv": "text", "notes.txt": "a note", "labels.json": "{}", ".env": "KEY=1",
    ".cache/huggingface/x.json": "{}", "onnx/config.json": "{}", "onnx/model.onnx": "", "runs/events.json": "{}",
    "pytorch_model.bin": "", "setup.py": "raise SystemExit", "token.txt": "hf_", "my.model": "gensim",
    "eval_results.json": "[]",
}  # fmt: skip
TOKENIZER_CODE = """
from transformers import BertTokenizer
from .words import WORDS

class OwnTokenizer(BertTokenizer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.words = WORDS, "own_words.dat"
"""


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def look(files: dict[str, Any], trusted: bool = False) -> Survey:
    """The survey of files that are nowhere but here."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in files.items()}
    return survey("model", texts, texts.__getitem__, trusted)


def below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bert"
    save_with_tokenizer(tiny.make("bert"), folder, {"tokenizer_class": "BertTokenizer"})
    return folder


@pytest.fixture
def bert(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "bert"))


def modules(*entries: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(entries)]


def test_what_no_loader_reads_stays_and_is_named() -> None:
    found = look({"config.json": {"model_type": "bert"}, "vocab.txt": "", "LICENSE.md": "", "Notice": "", **JUNK})
    assert set(found.files) == {"vocab.txt", "LICENSE.md", "Notice"}
    assert set(found.left) == set(JUNK) - {
        "pytorch_model.bin", "eval_results.json", "onnx/config.json", "onnx/model.onnx", ".cache/huggingface/x.json",
    }  # fmt: skip
    (said,) = found.notes()
    assert "checkpoint-500/ (3 files)" in said
    assert said.endswith(" more.")


@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [
        ("bert", ["vocab.txt"]), ("roberta", ["vocab.json", "merges.txt"]), ("t5", ["spiece.model"]),
        ("llama", ["tokenizer.model"]), ("xlm-roberta", ["sentencepiece.bpe.model"]), ("deberta-v2", ["spm.model"]),
        ("marian", ["source.spm", "target.spm", "vocab.json", "target_vocab.json"]),
        ("fsmt", ["vocab-src.json", "vocab-tgt.json", "merges.txt"]), ("mistral", ["tekken.json"]),
        ("whisper", ["vocab.json", "merges.txt", "normalizer.json"]), ("luke", ["entity_vocab.json"]),
        ("bert", ["tokenizer.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"]),
        ("bert", ["additional_chat_templates/tools.jinja", "chat_template.json", "generation_config.json"]),
        ("clip", ["preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"]),
        ("instructblip", ["qformer_tokenizer/tokenizer_config.json", "qformer_tokenizer/vocab.txt"]),
    ],
)  # fmt: skip
def test_files_that_transformers_names(kind: str, vocabulary: list[str]) -> None:
    files = {"config.json": {"model_type": kind}, **dict.fromkeys(vocabulary, "{}")}
    assert set(look(files).files) == set(vocabulary)


def test_files_that_configurations_name() -> None:
    config = {
        "fast_tokenizer_files": ["tokenizer.4.40.json"],
        "extra": {"emoji_map": "maps/emoji.dat"},
        "other": "a.py",
    }
    files = {"config.json": {"model_type": "bert"}, "tokenizer_config.json": config, "tokenizer.4.40.json": "{}",
             "maps/emoji.dat": "", "maps/other.dat": "", "a.py": "", "tokenizer.4.41.json": ""}  # fmt: skip
    found = look(files)
    assert set(found.files) == {"tokenizer_config.json", "tokenizer.4.40.json", "maps/emoji.dat"}
    assert found.left == ["a.py", "maps/other.dat", "tokenizer.4.41.json"]


def test_modules_of_sentence_transformers() -> None:
    router = {"types": {"": ST + "Transformer", "query_0_Static": ST + "StaticEmbedding"}, "structure": {}}
    files = {
        "config.json": {"model_type": "bert"}, "modules.json": modules(
            ("", ST + "Router"), ("1_Pooling", ST + "Pooling"), ("2_Dense/", ST + "Dense"), ("3_LSTM", ST + "LSTM")),
        "config_sentence_transformers.json": {}, "sentence_bert_config.json": {}, "router_config.json": router,
        "1_Pooling/config.json": {}, "2_Dense/config.json": {"path": "idf.dat"}, "2_Dense/model.safetensors": "",
        "2_Dense/pytorch_model.bin": "", "2_Dense/idf.dat": "", "3_LSTM/lstm_config.json": {},
        "3_LSTM/model.safetensors": "", "query_0_Static/tokenizer.json": {}, "query_0_Static/model.safetensors": "",
    }  # fmt: skip
    beside = {"2_Dense/trainer_state.json": {}, "4_Dense/config.json": {}, "4_Dense/model.safetensors": ""}
    found = look(files | beside)
    assert set(found.files) == set(files) - {"config.json", "2_Dense/pytorch_model.bin"}
    assert found.left == sorted(beside)
    assert found.problems == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"modules.json": modules(("../other", ST + "Dense"))}, "names ../other, which is outside"),
        ({"modules.json": modules(("/etc", ST + "Dense"))}, "names /etc, which is outside"),
        ({"modules.json": modules(("a\\..\\..\\b", ST + "Dense"))}, "which is outside"),
        ({"modules.json": {}}, "modules.json of model is not a list of modules"),
        ({"modules.json": "{"}, "modules.json of model cannot be read as JSON"),
        ({"tokenizer_config.json": "[]"}, "tokenizer_config.json of model is not a JSON object"),
    ],
)
def test_files_that_cannot_be_right(files: dict[str, Any], said: str) -> None:
    with pytest.raises(FactcliError, match=said.replace("\\", "")):
        look({"config.json": {}} | files)


def test_pickled_weights_of_a_module_are_refused(bert: Path, tmp_path: Path) -> None:
    entries = modules(("", ST + "Transformer"), ("1_Dense", ST + "Dense"))
    write(bert, {"modules.json": entries, "1_Dense/config.json": {}, "1_Dense/pytorch_model.bin": "pickle"})
    with pytest.raises(FactcliError, match=r"pickled weights in a module .*1_Dense/pytorch_model\.bin.*save the whole"):
        convert(str(bert), tmp_path / "out", keep=0.5)
    assert not (tmp_path / "out").exists()


def test_embeddings_come_through_the_further_modules(bert: Path, tmp_path: Path) -> None:
    """sentence-transformers on the export: pooling, a dense layer of its own, and the factors of the transformer."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules as of

    model = st.SentenceTransformer(
        modules=[of.Transformer(str(bert), max_seq_length=16), of.Pooling(32), of.Dense(32, 8)], device="cpu"
    )
    model.save_pretrained(str(tmp_path / "st"))
    convert(str(tmp_path / "st"), tmp_path / "out", rank=32, force_rank=True)  # of full rank: nothing is lost
    weights = "2_Dense/model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "st" / weights).read_bytes()
    again = st.SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    texts = ["w7 w9 w11", "w50"]
    torch.testing.assert_close(again.encode(texts), model.encode(texts), atol=1e-5, rtol=1e-4)
    assert again.encode(texts).shape == (2, 8)
    assert again.max_seq_length == 16


def test_published_is_what_was_written(bert: Path, tmp_path: Path) -> None:
    write(bert, JUNK | {"LICENSE": "mine", "additional_chat_templates/a.jinja": "x", "1_Dense/config.json": {},
                        "modules.json": modules(("", ST + "Transformer"), ("1_Dense", ST + "Dense"))})  # fmt: skip
    save_file({"linear.weight": torch.ones(2, 2)}, bert / "1_Dense" / "model.safetensors")
    convert(str(bert), tmp_path / "out", keep=0.5)
    written = below(tmp_path / "out")
    assert written == OURS | {
        "LICENSE", "additional_chat_templates/a.jinja", "1_Dense/config.json", "1_Dense/model.safetensors",
        "modules.json", "tokenizer_config.json", "vocab.txt",
    }  # fmt: skip
    write(tmp_path / "out", JUNK | {"1_Dense/notes.txt": ""})
    (tmp_path / "out" / "chat_template.jinja").symlink_to(".env")
    published, left = export_files(tmp_path / "out")
    assert set(published) == written | {"eval_results.json"}
    assert {".env", "chat_template.jinja", "1_Dense/notes.txt", "data/train.json"} <= set(left)


@pytest.mark.parametrize("name", ["vocab.txt", "model.safetensors", "config.json", "1_Dense"])
def test_links_that_leave_are_not_followed(name: str, bert: Path, tmp_path: Path) -> None:
    write(
        bert, {"modules.json": modules(("", ST + "Transformer"), ("1_Dense", ST + "Dense")), "1_Dense/config.json": {}}
    )
    (tmp_path / "outside").mkdir()
    (bert / name).rename(tmp_path / "outside" / name)
    (bert / name).symlink_to(tmp_path / "outside" / name)
    with pytest.raises(FactcliError, match=f"{name} of .* is a link that leads out of the directory"):
        convert(str(bert), tmp_path / "out", keep=0.5)
    assert not (tmp_path / "out").exists()


def test_links_that_stay_are_followed(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(bert, {"files/words": (bert / "vocab.txt").read_text(), "secret.txt": "secret"})
    (bert / "vocab.txt").unlink()
    (bert / "vocab.txt").symlink_to(bert / "files" / "words")
    (bert / "loop").symlink_to(bert)
    (bert / "round").symlink_to("round")
    (bert / "notes.md").symlink_to(tmp_path)
    (bert / "LICENSE").symlink_to("/etc/hostname")
    (tmp_path / "link").symlink_to(bert)
    convert(str(tmp_path / "link"), tmp_path / "out", keep=0.5)
    assert below(tmp_path / "out") == OURS | {"vocab.txt", "tokenizer_config.json"}
    assert not (tmp_path / "out" / "vocab.txt").is_symlink()
    assert "Left out of what" in caplog.text


def test_a_hidden_file_does_not_come_by_another_name(bert: Path, tmp_path: Path) -> None:
    (bert / ".env").write_text("KEY=1")
    (bert / "special_tokens_map.json").symlink_to(".env")
    with pytest.raises(FactcliError, match=r"special_tokens_map\.json of .* is a link"):
        convert(str(bert), tmp_path / "out", keep=0.5)


def test_a_hub_cache_s_own_links(bert: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for number, name in enumerate(sorted(below(bert))):
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (bert / name).rename(blobs / str(number))
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    convert(str(snapshot), tmp_path / "out", keep=0.5)
    assert below(tmp_path / "out") == OURS | {"vocab.txt", "tokenizer_config.json"}
    (tmp_path / "private").write_text("KEY=1")
    (blobs / "private").symlink_to(tmp_path / "private")
    (snapshot / "added_tokens.json").symlink_to("../../blobs/private")
    with pytest.raises(FactcliError, match=r"added_tokens\.json of .* is a link"):
        convert(str(snapshot), tmp_path / "out2", keep=0.5)


def own_tokenizer(folder: Path, class_name: str = "OwnTokenizer") -> None:
    """A tokenizer with code of its own, of two files, and one that it reads."""
    write(
        folder, {"tokenization_own.py": TOKENIZER_CODE, "words.py": "WORDS = ()", "own_words.dat": "w", "idle.py": ""}
    )
    auto_map = {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}
    edit(folder / "tokenizer_config.json", tokenizer_class=class_name, auto_map=auto_map)


def test_a_tokenizer_s_own_code_goes_with_leave_only(bert: Path, tmp_path: Path) -> None:
    own_tokenizer(bert)
    with pytest.raises(FactcliError, match=r"code of its own for the tokenizer \(tokenization_own\.py\): read"):
        convert(str(bert), tmp_path / "out", keep=0.5)
    convert(str(bert), tmp_path / "out", keep=0.5, trust_remote_code=True)
    code = {"tokenization_own.py", "words.py", "own_words.dat"}
    assert below(tmp_path / "out") == OURS | code | {"vocab.txt", "tokenizer_config.json"}
    assert set(export_files(tmp_path / "out")[0]) == below(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`tokenization_own.py` (the tokenizer), `words.py` (the tokenizer)." in card
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=True)
    assert type(tokenizer).__name__ == "OwnTokenizer"
    assert tokenizer("w7 w9")["input_ids"] == [2, 7, 9, 3]


def test_a_native_tokenizer_stands_in_for_its_own(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own_tokenizer(bert, "BertTokenizer")
    convert(str(bert), tmp_path / "out", keep=0.5)
    assert "code of its own for the tokenizer (tokenization_own.py), which is left out" in caplog.text
    assert "auto_map" not in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert below(tmp_path / "out") == OURS | {"vocab.txt", "tokenizer_config.json"}
    assert "tokenization_own" not in (tmp_path / "out" / "README.md").read_text()


def test_code_elsewhere_stays_a_reference(saved: Path) -> None:
    config = {"auto_map": {"AutoTokenizer": ["a/b--tokenization_x.XTokenizer", None]}}
    files = {"config.json": {"model_type": "qwen2"}, "tokenizer_config.json": config, "x.tiktoken": "", "a.csv": ""}
    assert "a/b--tokenization_x.XTokenizer" in look(files).problems[0]
    found = look(files, trusted=True)
    assert found.elsewhere == {"a/b": "the tokenizer"}
    assert set(found.files) == {"tokenizer_config.json", "x.tiktoken"}
    assert found.problems == []


def test_modules_and_pipelines_of_their_own() -> None:
    files = {
        "config.json": {"model_type": "bert", "custom_pipelines": {"pairs": {"impl": "pairs.Pairs", "pt": []}}},
        "modules.json": modules(("", "custom_st.Transformer"), ("1_Own", "pylate.models.Dense")), "pairs.py": "",
        "custom_st.py": "from .helper import f", "helper.py": "", "1_Own/weights.dat": "", "1_Own/config.json": {},
        "custom_generate/generate.py": "", "custom_generate/requirements.txt": "", "other.py": "",
    }  # fmt: skip
    found = look(files)
    assert [p for p in found.problems if "custom_st.py" in p or "pylate.models.Dense" in p] == found.problems[:2]
    assert set(found.files) == {"modules.json", "1_Own/config.json"}
    assert set(found.untrusted) == {"pairs.py", "custom_generate/generate.py"}
    found = look(files, trusted=True)
    assert found.problems == []
    assert set(found.files) == set(files) - {"config.json", "other.py"}
    assert found.elsewhere == {"pylate.models.Dense": "the module 1_Own"}
    assert found.left == ["other.py"]
    assert "not there (tokenization_x.py)" in look(
        {"config.json": {}, "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}}}, True
    ).problems[0]  # fmt: skip


def test_a_model_s_own_code(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A class that transformers has stands in for it; another is refused, trusted or not; the file is never run."""
    (bert / "modeling_own.py").write_text("raise SystemExit")
    edit(bert / "config.json", architectures=["OwnModel"], auto_map={"AutoModel": "modeling_own.OwnModel"})
    for trust in (False, True):
        with pytest.raises(FactcliError, match=r"code of its own \(OwnModel in modeling_own\.py\)"):
            convert(str(bert), tmp_path / "out", keep=0.5, trust_remote_code=trust)
    edit(bert / "config.json", architectures=["BertModel"])
    convert(str(bert), tmp_path / "out", keep=0.5, trust_remote_code=True)
    assert "code of its own for the model (modeling_own.py), which is not run" in caplog.text
    assert "modeling_own" not in (tmp_path / "out" / "config.json").read_text()
    assert "modeling_own.py" not in below(tmp_path / "out")


def test_keys_of_another_machine(tmp_path: Path) -> None:
    """They stop nothing here, and none goes into the export, of the configuration's parts or the tokenizer either."""
    save_with_tokenizer(
        tiny.make("bert", "BertForSequenceClassification"), tmp_path / "bert", {"tokenizer_class": "BertTokenizer"}
    )
    theirs = {"_attn_implementation": "flash_attention_2", "attn_implementation": "flash_attention_2",
              "_attn_implementation_internal": "kernels-community/flash-attn", "_flash_attn_2_enabled": True,
              "_name_or_path": "/home/someone/bert", "_commit_hash": "0" * 40}  # fmt: skip
    edit(tmp_path / "bert" / "config.json", **theirs, task_specific_params={"text": theirs | {"kept": 1}})
    edit(tmp_path / "bert" / "tokenizer_config.json", name_or_path="/home/someone/bert",
         special_tokens_map_file="/home/someone/map.json", tokenizer_file="/home/someone/t.json")  # fmt: skip
    convert(str(tmp_path / "bert"), tmp_path / "out", keep=0.5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert not theirs.keys() & config.keys()
    assert config["task_specific_params"] == {"text": {"kept": 1}}
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()) == {"tokenizer_class": "BertTokenizer"}
    (tmp_path / "d.csv").write_text("text,label\nw7 w8,0\nw9 w10,1\n")
    for model in ("bert", "out"):
        assert evaluate(str(tmp_path / model), validation=tmp_path / "d.csv", device="cpu")[0]["examples"] == 2


def sentencepiece(file: Path, **options: Any) -> None:
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    texts = [f"a film was {mood} and it is the cast {n}" for n in range(50) for mood in ("good", "bad", "quite fine")]
    with file.open("wb") as stream:
        trainer.train(sentence_iterator=iter(texts), model_writer=stream, vocab_size=40, minloglevel=2, **options)


@pytest.mark.parametrize("config", [None, {"model_max_length": 64}])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "t5", "llama", "deberta-v2"])
def test_a_vocabulary_is_enough(kind: str, config: dict[str, Any] | None, tmp_path: Path) -> None:
    """Without tokenizer.json: what reads it is known by the model type, and by nothing in the export unless said."""
    folder = small_source(kind, tmp_path / "source")
    if config:
        write(folder, {"tokenizer_config.json": config})
    if kind == "t5":
        sentencepiece(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    elif kind == "llama":
        sentencepiece(folder / "tokenizer.model", model_type="bpe")
    elif kind == "deberta-v2":
        sentencepiece(folder / "spm.model", user_defined_symbols="[CLS],[SEP],[MASK]", pad_id=3)
    elif kind == "roberta":
        words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "Ġ", "g", "o", "d", "oo", "Ġg"]
        write(folder, {"vocab.json": {w: i for i, w in enumerate(words)}, "merges.txt": "o o\nĠ g\n"})
    else:
        write(folder, {"vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "##s"])})
    expected = AutoTokenizer.from_pretrained(folder)("a good film")["input_ids"]
    assert len(set(expected)) > 2
    assert ids_of_export(folder, tmp_path / "out", "a good film") == expected


@pytest.mark.parametrize("named", ["LlamaTokenizerFast", None])
def test_the_tokenizer_of_an_export_is_that_of_the_source(named: str | None, tmp_path: Path) -> None:
    """Where its class is named wrongly or not at all, the Auto class goes by the model type, which an export lacks."""
    folder = small_source("qwen2", tmp_path / "source", "Qwen2Config", "llama")
    vocabulary = {name: i for i, name in enumerate(["<unk>", "<s>", "</s>", "Ġw", "w", "7", "Ġ"])}
    config = {"unk_token": "<unk>"} | ({"tokenizer_class": named} if named else {})
    write(folder, {"vocab.json": vocabulary, "merges.txt": "Ġ w\n", "tokenizer_config.json": config})
    expected = AutoTokenizer.from_pretrained(folder)("w7 w")["input_ids"]
    assert ids_of_export(folder, tmp_path / "out", "w7 w") == expected != []


def small_source(kind: str, folder: Path, config: str = "", like: str = "") -> Path:
    """A configuration alone."""
    name, values = tiny.CONFIGS[like or kind]
    getattr(transformers, config or name)(**values).save_pretrained(folder)
    return folder


def ids_of_export(folder: Path, out: Path, text: str) -> list[int]:
    """What the tokenizer of an export makes of a text; with factcli's code and with its own."""
    source = find_model(str(folder), weights=False)
    out.mkdir()
    write_small_files(out, source, export_config(source, Plan((), 0, 0), source.model_class, {}))
    for file in remote_code.FILES:
        shutil.copy(file, out)
    ids: list[int] = AutoTokenizer.from_pretrained(out, trust_remote_code=True)(text)["input_ids"]
    ours = find_model(str(out), weights=False, accept_factorized=True)
    assert AutoTokenizer.from_pretrained(out, config=ours.config)(text)["input_ids"] == ids
    return ids


def test_names_that_the_last_transformers_4_knows_too(tmp_path: Path) -> None:
    file = write(tmp_path, {"tokenizer.json": "{}", "tokenizer_config.json": {
        "tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"], "model_max_length": 8,
    }}) / "tokenizer_config.json"  # fmt: skip
    name_classes(tmp_path, "bert", {})
    assert json.loads(file.read_text()) == {
        "model_input_names": ["input_ids", "attention_mask"], "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"], "model_max_length": 8,
    }  # fmt: skip


def test_weights_of_the_cache_s_shared_store_are_compared_with_the_hub_s_hash(tmp_path: Path) -> None:
    """snapshot -> blobs/SHA-256 -> a store that goes by other hashes."""
    stored = tmp_path / "blobs" / "ab" / ("ab" * 32)
    sha = hashlib.sha256(b"weights").hexdigest()
    blob, file = tmp_path / "repo" / "blobs" / sha, tmp_path / "repo" / "model.safetensors"
    for path in (stored, blob):
        path.parent.mkdir(parents=True)
    stored.write_bytes(b"weights")
    blob.symlink_to(stored)
    file.symlink_to(blob)
    assert not damaged(file)
    stored.write_bytes(b"weight!")
    assert damaged(file)


def test_a_repository_and_the_same_files_as_a_directory(
    bert: Path, hub: HubServer, owner: HubClient, tmp_path: Path
) -> None:
    own_tokenizer(bert)
    write(bert, JUNK | {"LICENSE": "mine", "1_Dense/config.json": {}, "chat_template.jinja": "{{ x }}",
                        "modules.json": modules(("", ST + "Transformer"), ("1_Dense", ST + "Dense"))})  # fmt: skip
    save_file({"linear.weight": torch.ones(2, 2)}, bert / "1_Dense" / "model.safetensors")
    hub.add_repo("someone/rich", bert)
    convert(str(bert), tmp_path / "local", keep=0.5, trust_remote_code=True)
    owner.call("convert", "someone/rich", tmp_path / "fetched", keep=0.5, trust_remote_code=True)
    assert below(tmp_path / "fetched") == below(tmp_path / "local")
    for name in below(tmp_path / "local") - {"README.md", "factcli_recipe.yaml"}:
        assert (tmp_path / "fetched" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    fetched = {r.file for r in hub.requests if r.step == "get" and r.repo == "someone/rich"}
    assert fetched & JUNK.keys() <= {"eval_results.json"}
    assert "idle.py" not in fetched
    assert survey_directory(bert, "bert", True).files.keys() <= fetched
