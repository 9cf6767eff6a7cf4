"""frontier: the table of every way to make a model smaller, against what each part of it gives by itself."""

import json
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForSequenceClassification

import factcli
from factcli.cli import main
from factcli.compress.dropping import every, export_plain
from factcli.errors import FactcliError, UsageError
from factcli.files.outputs import Output
from factcli.measuring import frontier
from factcli.measuring.apart import Runner
from factcli.measuring.frontier import Clock, optimal
from factcli.models.model import find_model

from .processes import Python
from .runtimes.conftest import save_sentence_transformer
from .training_helpers import FAST, WORDS, rows, save_model, save_tokenizer, write_csv, write_glue

QUICK: dict[str, Any] = {"seconds": 0.01, "sequence_length": 16, "batch_size": 1, "threads": 1}
DEPTH = {"distilbert": "n_layers", "t5": "num_layers"}
UNTIMED: dict[str, Any] = {"seconds": 0}
CLASSIFIER = "BertForSequenceClassification"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier that knows its task, an embedding model, and texts."""
    folder = tmp_path_factory.mktemp("frontier")
    write_glue(folder / "glue", "sst2", train=160, validation=60)
    write_csv(folder / "texts.csv", [(text,) for text, _ in rows(60, 5)], ("text",))
    write_csv(folder / "labelled.csv", rows(40, 6))
    save_model(folder / "bert", num_hidden_layers=3)
    factcli.finetune(str(folder / "bert"), folder / "trained", task="sst2", data_dir=folder / "glue", epochs=6, **FAST)
    save_model(folder / "embedder", num_hidden_layers=2)
    save_sentence_transformer(folder / "embedder")
    return folder


@pytest.fixture(scope="module")
def made(place: Path) -> dict[str, Any]:
    """One table, of PyTorch alone, whose models stay."""
    return factcli.frontier(
        str(place / "trained"), task="sst2", data_dir=place / "glue", keeps=0.5, heal=place / "texts.csv", heal_steps=2,
        backend="torch", ways="dense,kfac,layers,svd", output=place / "kept", plot=place / "kept" / "sizes.png",
        **UNTIMED,
    )  # fmt: skip


@pytest.fixture(scope="module")
def timed(made: dict[str, Any], place: Path) -> dict[str, Any]:
    """Some of these models again, with times, in more than one group."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "AT_ONCE", 2)
        return factcli.frontier(
            str(place / "trained"), task="sst2", data_dir=place / "glue", keeps=0.5, backend="torch", ways="dense,svd",
            output=place / "kept", plot=place / "frontier.png", **QUICK,
        )  # fmt: skip


# --- layers left out


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("bert", CLASSIFIER),
        ("distilbert", None),
        ("roberta", None),
        ("deberta-v2", None),
        ("t5", "T5EncoderModel"),
        ("modernbert", None),
    ],
)
def test_fewer_layers_are_the_model_with_its_list_of_layers_cut(kind: str, head: str | None, tmp_path: Path) -> None:
    save_model(tmp_path / "model", kind, head, **{DEPTH.get(kind, "num_hidden_layers"): 5})
    source = find_model(str(tmp_path / "model"))
    stay = every(source, 2)
    export_plain(source, Output(tmp_path / "thin"), stay, "float32")
    by_hand: Any = source.load().model
    name = next(n for n, m in by_hand.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 5)
    owner, _, leaf = name.rpartition(".")
    layers = by_hand.get_submodule(name)
    setattr(by_hand.get_submodule(owner), leaf, torch.nn.ModuleList([layers[i] for i in stay]))
    by_hand.config.num_hidden_layers = len(stay)
    thin = find_model(str(tmp_path / "thin"))
    ids = torch.arange(3, 15).reshape(2, 6)
    with torch.no_grad():
        ours, theirs = thin.load().model(input_ids=ids)[0], by_hand(input_ids=ids)[0]
    assert stay == (0, 2, 4)
    assert not thin.factorized
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["albert", "bart", "t5"])
def test_layers_that_are_shared_or_of_a_decoder_are_not_left_out(kind: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", kind)
    with pytest.raises(FactcliError, match="no one list of layers"):
        every(find_model(str(tmp_path / "model")), 2)


def test_one_layer_and_layers_that_are_not_alike(place: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A comparison leaves such models out: here the second of three layers has experts, the others have none."""
    save_model(tmp_path / "one", num_hidden_layers=1)
    config = Qwen3MoeConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
        mlp_only_layers=[0, 2], pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    Qwen3MoeForSequenceClassification(config).save_pretrained(tmp_path / "unlike")
    save_tokenizer(tmp_path / "unlike")
    for name, said in (("one", "has one layer: none can be left out."), ("unlike", "its layers are not alike.")):
        found = factcli.frontier(
            str(tmp_path / name), calibration=place / "texts.csv", ways="layers", backend="torch", **UNTIMED
        )
        assert found["left_out"]
        assert said in found["left_out"][0]["why"]
        assert said in caplog.text


# --- marks, times


def beaten(a: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    return any(c <= a[0] and s >= a[1] and (c, s) != a for c, s in points)


def test_what_is_optimal_is_what_no_other_beats() -> None:
    draw = random.Random(0)
    for _ in range(200):
        points = [(float(draw.randint(1, 6)), float(draw.randint(1, 6))) for _ in range(draw.randint(1, 9))]
        assert optimal(points) == [not beaten(one, points) for one in points]
    assert optimal([(None, 1.0), (2.0, 0.5)]) == [False, True]


def test_what_cannot_be_timed_is_said_and_the_others_are(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    dense = find_model(str(place / "trained"))
    whole = Runner(dense, "torch", None, None)
    broken = Runner(dense, "onnx", "float32", place / "texts.csv")
    clock = Clock(Runner(dense, "torch", "float32", None), (1, 8), 0.01, 1)
    found = clock.speedups([whole, broken])
    assert found[0] is not None
    assert found[1] is None
    assert "is not timed" in caplog.text


# --- the vocabulary


def test_a_vocabulary_is_that_of_the_texts_that_do_not_compare(place: Path, tmp_path: Path, caplog: Any) -> None:
    """A token of the texts that are held out alone goes: they are what models are held to."""
    texts = [text.replace(WORDS[-1], WORDS[0]) for text, _ in rows(40, 3)]
    held = f"good {WORDS[-1]}"
    write_csv(tmp_path / "labelled.csv", [*rows(20, 6), (held, "yes")])
    write_csv(tmp_path / "vocabulary.csv", [(text,) for text in [*texts, held]], ("text",))
    write_csv(tmp_path / "texts.csv", [(text,) for text in texts], ("text",))
    found = factcli.frontier(
        str(place / "trained"), validation=tmp_path / "labelled.csv", calibration=str(tmp_path / "texts.csv"),
        vocabulary=tmp_path / "vocabulary.csv", heal=tmp_path / "texts.csv", heal_steps=1, keeps=0.5,
        ways="kfac-embeddings,kfac-vocabulary", backend="torch", output=tmp_path / "kept", label_names="no,yes",
        **UNTIMED,
    )  # fmt: skip
    assert found["left_out"] == []
    sizes = {r["model"]: r["bytes"] for r in found["results"]}
    assert sizes["kfac-vocabulary-0.5"] == sizes["kfac-vocabulary-0.5-healed"] < sizes["kfac-embeddings-0.5"]
    known = json.loads((tmp_path / "kept" / "kfac-vocabulary-0.5" / "tokenizer.json").read_text())["model"]["vocab"]
    assert WORDS[-1] not in known
    assert set(texts[0].split()) <= known.keys()
    assert (tmp_path / "kept" / "vocabulary.txt").read_text().splitlines() == texts
    assert "1 of the texts of" in caplog.text
    with pytest.raises(FactcliError, match="another vocabulary"):
        factcli.frontier(
            str(place / "trained"), validation=tmp_path / "labelled.csv", calibration=str(tmp_path / "texts.csv"),
            vocabulary=tmp_path / "texts.csv", keeps=0.5, ways="kfac-vocabulary", backend="torch",
            output=tmp_path / "kept", label_names="no,yes", **UNTIMED,
        )  # fmt: skip


def test_a_vocabulary_of_nothing_but_what_compares_is_refused(place: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "labelled.csv", rows(20, 6))
    write_csv(tmp_path / "vocabulary.csv", [(text,) for text, _ in rows(20, 6)], ("text",))
    with pytest.raises(FactcliError, match=r"--vocabulary .* has no texts beside"):
        factcli.frontier(
            str(place / "trained"), validation=tmp_path / "labelled.csv", calibration=str(place / "texts.csv"),
            vocabulary=tmp_path / "vocabulary.csv", backend="torch", **UNTIMED,
        )  # fmt: skip


# --- the table


def test_rows_are_what_the_other_commands_give(made: dict[str, Any], timed: dict[str, Any], place: Path) -> None:
    results = made["results"]
    assert [r["model"] for r in results] == [
        "dense", "dense-bfloat16", "kfac-0.5", "kfac-0.5-healed", "svd-0.5", "layers-2", "layers-2-healed", "layers-3",
        "layers-3-healed",
    ]  # fmt: skip
    assert (made["metric"], made["rows"], made["left_out"]) == ("accuracy", 60, [])
    data = {"task": "sst2", "data_dir": place / "glue"}
    dense = factcli.evaluate(str(place / "trained"), **data)[0]["metrics"]["accuracy"]
    for r in results:
        folder = place / "kept" / r["model"]
        score = factcli.evaluate(str(folder), **data)[0]["metrics"]["accuracy"]
        assert r["score"] == score
        assert r["lost"] == pytest.approx(100 * (dense - score), abs=1e-3)
        assert r["bytes"] == sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert [r["model"] for r in timed["results"]] == ["dense", "dense-bfloat16", "svd-0.5"]
    assert all(r["milliseconds"] > 0 for r in timed["results"])
    for table, key in ((results, "bytes"), (timed["results"], "bytes"), (timed["results"], "milliseconds")):
        points = [(r[key], r["score"]) for r in table]
        assert [r["optimal"][key] for r in table] == [not beaten(one, points) for one in points]
    same = factcli.convert(str(place / "trained"), place / "alone", keep=0.5)
    assert (place / "kept" / "svd-0.5" / "model.safetensors").read_bytes() == (
        place / "alone" / "model.safetensors"
    ).read_bytes()
    assert same["criterion"] == "frobenius"
    for file in (place / "frontier.png", place / "kept" / "sizes.png"):
        assert file.read_bytes().startswith(b"\x89PNG")


def test_what_is_there_is_not_made_again_and_the_table_fits(
    made: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = place / "kept"
    before = {file: file.stat().st_mtime_ns for file in kept.glob("*/model.safetensors")}
    argv = ["factcli", "frontier", str(place / "trained"), "--task", "sst2", "--data-dir", str(place / "glue"),
            "--keeps", "0.5", "--heal", str(place / "texts.csv"), "--heal-steps", "2", "--backend", "torch",
            "--ways", "dense,kfac", "-o", str(kept), "--seconds", "0"]  # fmt: skip
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split("  ")[0] for line in lines[1:5]] == ["dense", "dense", "kfac, 0.5", "kfac, 0.5, healed"]
    assert {file: file.stat().st_mtime_ns for file in kept.glob("*/model.safetensors")} == before


def test_files_of_runtimes_have_rows_of_their_own(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = factcli.frontier(
        str(place / "trained"), task="sst2", data_dir=place / "glue", ways="dense", backend="onnx", **UNTIMED
    )
    assert [(r["backend"], r["precision"]) for r in result["results"]] == [
        ("torch", "float32"), ("onnx", "float32"), ("onnx", "int8"),
    ]  # fmt: skip
    assert result["results"][2]["bytes"] < result["results"][1]["bytes"]
    assert result["output"] is None
    assert [r["milliseconds"] for r in result["results"]] == [None] * 3
    assert not any(r["optimal"]["milliseconds"] for r in result["results"])


def test_without_labels_no_text_that_compares_is_learnt_from(place: Path, tmp_path: Path) -> None:
    result = factcli.frontier(
        str(place / "embedder"), calibration=place / "texts.csv", heal=place / "texts.csv", heal_steps=1, keeps=0.5,
        ways="kfac", backend="torch", output=tmp_path / "kept", **UNTIMED,
    )  # fmt: skip
    sets = {}
    for name in ("texts", "held-out", "heal"):
        lines = (tmp_path / "kept" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        sets[name] = {json.loads(line)["text"] for line in lines}
    assert not sets["held-out"] & (sets["texts"] | sets["heal"])
    assert sets["held-out"] | sets["texts"] == {text for text, _ in rows(60, 5)}
    assert (result["metric"], result["rows"]) == ("cosine", len(sets["held-out"]))
    dense, small, healed = result["results"]
    assert dense["score"] == pytest.approx(1)
    assert small["score"] < 1
    assert healed["healed"]


_KILLED = """
import json, os, signal, sys
import factcli

model, options = json.loads(sys.argv[1])

def progress(done, total, name):
    if name == "svd-0.5":
        os.kill(os.getpid(), signal.SIGKILL)

factcli.frontier(model, **options, progress=progress)
"""


def test_a_killed_run_goes_on(place: Path, tmp_path: Path, python: Python) -> None:
    options = {"task": "sst2", "data_dir": str(place / "glue"), "keeps": "0.5,0.25", "ways": "svd", "backend": "torch",
               "output": str(tmp_path / "kept"), **UNTIMED}  # fmt: skip
    done = python.run("-c", _KILLED, json.dumps([str(place / "trained"), options]))
    assert done.returncode == -signal.SIGKILL, done.stderr
    first = (tmp_path / "kept" / "dense" / "model.safetensors").stat().st_mtime_ns
    result = factcli.frontier(str(place / "trained"), **options)
    whole = factcli.frontier(str(place / "trained"), **(options | {"output": None}))
    assert (tmp_path / "kept" / "dense" / "model.safetensors").stat().st_mtime_ns == first
    for a, b in zip(result["results"], whole["results"], strict=True):
        assert {k: a[k] for k in ("model", "score", "bytes")} == {k: b[k] for k in ("model", "score", "bytes")}


# --- what is refused, and what is left out


REFUSED: list[tuple[dict[str, Any], type[FactcliError], str]] = [
    ({}, UsageError, "There are no labels or texts"),
    ({"validation": "labelled.csv"}, UsageError, "no texts to calibrate on: give --calibration"),
    ({"task": "sst2", "validation": "labelled.csv"}, UsageError, "either --task"),
    ({"calibration": "sst2"}, UsageError, "is a file of texts"),
    ({"task": "sst2", "backend": "tensorrt"}, UsageError, "tensorrt"),
    ({"task": "sst2", "keeps": "0.5,1.5"}, UsageError, "fractions between 0 and 1"),
    ({"task": "sst2", "keeps": ""}, UsageError, "is empty"),
    ({"task": "sst2", "ways": "dense,prune"}, UsageError, "unknown"),
    ({"task": "sst2", "heal_steps": 5}, UsageError, "without --heal"),
    ({"task": "sst2", "ways": "dense", "heal": "texts.csv"}, UsageError, "--heal has no effect"),
    ({"task": "sst2", "ways": "kfac-vocabulary"}, UsageError, "give them with --vocabulary"),
    ({"task": "sst2", "ways": "kfac", "vocabulary": "texts.csv"}, UsageError, "--vocabulary has no effect"),
    ({"task": "sst2", "ways": "layers", "keeps": 0.5}, UsageError, "--keeps has no effect"),
    ({"calibration": "texts.csv", "limit": 5}, UsageError, "--limit has no effect"),
    ({"task": "sst2", "heal": "none.csv"}, FactcliError, "--heal none.csv is no file"),
    ({"task": "sst2", "sequence_length": 500}, FactcliError, "--sequence-length"),
    ({"task": "sst2", "sequence_length": 16, "seconds": 0}, UsageError, "--sequence-length has no effect"),
    ({"task": "sst2", "seconds": -1.0}, UsageError, "--seconds"),
    ({"task": "sst2", "plot": "picture.bmp"}, UsageError, "must end in"),
    ({"task": "sst2", "output": "glue", "seconds": 0}, FactcliError, "is not empty"),
]


@pytest.mark.parametrize(("options", "kind", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_it_is_refused_before_anything_is_made(
    options: dict[str, Any], kind: type[FactcliError], said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(kind, match=said):
        factcli.frontier("trained", **({"data_dir": "glue"} if options.get("task") else {}), **options)
    assert sorted(place.rglob("*")) == before


def test_a_model_that_is_factorized_and_one_that_knows_nothing(place: Path, tmp_path: Path) -> None:
    factcli.convert(str(place / "bert"), tmp_path / "small", keep=0.5)
    with pytest.raises(FactcliError, match="already factorized"):
        factcli.frontier(str(tmp_path / "small"), calibration=place / "texts.csv")
    save_model(tmp_path / "untrained", "bert", CLASSIFIER, num_labels=2)
    write_csv(tmp_path / "yes.csv", [(text, "yes") for text, _ in rows(30, 1)] + rows(2, 2))
    with pytest.raises(FactcliError, match="nothing to lose"):
        factcli.frontier(
            str(tmp_path / "untrained"), validation=tmp_path / "yes.csv", calibration=place / "texts.csv",
            label_names="no,yes", backend="torch", **UNTIMED,
        )  # fmt: skip


def test_another_comparison_in_the_same_place_is_refused(made: dict[str, Any], place: Path) -> None:
    with pytest.raises(FactcliError, match="compares another model, on other data"):
        factcli.frontier(
            str(place / "trained"), calibration=place / "texts.csv", output=place / "kept", backend="torch", **UNTIMED
        )


def test_what_a_model_has_not_is_left_out_and_said(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(tmp_path / "albert", "albert", "AlbertForSequenceClassification", num_labels=2)
    result = factcli.frontier(
        str(tmp_path / "albert"), calibration=place / "texts.csv", ways="layers", backend="torch",
        heal=place / "texts.csv", heal_steps=1, **UNTIMED,
    )  # fmt: skip
    assert [r["model"] for r in result["results"]] == ["dense"]
    assert [one["model"] for one in result["left_out"]] == [
        "layers-2", "layers-2-healed", "layers-3", "layers-3-healed",
    ]  # fmt: skip
    assert "no one list of layers" in caplog.text
    assert "Left out, every second layer, healed: what it is trained from is left out." in caplog.text


def test_runtimes_that_are_not_installed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from factcli.commands.comparing import installed
    from factcli.runtimes import extras

    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "openvino" else found(name))
    assert installed(()) == ("torch", "onnx")
    assert "Rows of OpenVINO are left out" in caplog.text
    with pytest.raises(FactcliError, match="openvino is not installed"):
        installed(("torch", "openvino"))
