"""evaluate --retrieval: beside sentence-transformers and plain formulas; collections that are not right."""

import gc
import json
import math
import random
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard

import factcli
from factcli.scores.ranking import chance, ndcg
from factcli.scores.retrieval import Nearest

from .hub import HubServer
from .hub_client import HubClient
from .test_options import notes as notes
from .test_purpose import save_embedder
from .training_helpers import WORDS, save_model

st = pytest.importorskip("sentence_transformers")
Qrels = list[tuple[str, str, int]]
HEADER = "query-id\tcorpus-id\tscore\n"


def lines(file: Path, entries: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def words(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(2, most)))


def collection(folder: Path, documents: int = 150, queries: int = 12) -> Qrels:
    """Every third document has a title. A query is most of what one document, of grade 3, says; others fit it too."""
    folder.mkdir()
    draw = random.Random(documents)
    corpus = [{"_id": f"d{i}", "text": words(draw, 9)} | ({"title": words(draw, 3)} if i % 3 == 0 else {})
              for i in range(documents)]  # fmt: skip
    asked, qrels = [], []
    for i in range(queries):
        first, *others = draw.sample(range(documents), 4)
        asked.append({"_id": f"q{i}", "text": " ".join(corpus[first]["text"].split()[1:])})
        qrels += [(f"q{i}", f"d{first}", 3), *((f"q{i}", f"d{d}", g) for d, g in zip(others, (1, 2, 0), strict=True))]
    corpus.append({"_id": "q0", "text": asked[0]["text"]})  # the query itself, which is not to be found
    lines(folder / "corpus.jsonl", corpus)
    lines(folder / "queries.jsonl", [*asked, {"_id": "of another split", "text": "w1"}])
    (folder / "qrels.tsv").write_text(HEADER + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in qrels))
    return qrels


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    save_embedder(folder / "dense")
    factcli.convert(str(folder / "dense"), folder / "small", keep=0.8)
    collection(folder / "beir")
    return folder


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "beir", tmp_path / "beir")
    return tmp_path / "beir"


def expected(model: Path, folder: Path, qrels: Qrels, similarity: str = "cosine") -> dict[str, float]:
    """By sentence-transformers' vectors and the definitions."""
    encoder = st.SentenceTransformer(str(model), device="cpu", trust_remote_code=True, similarity_fn_name=similarity)
    corpus, queries = (
        [json.loads(line) for line in (folder / name).open()] for name in ("corpus.jsonl", "queries.jsonl")
    )
    texts = [f"{d.get('title', '')} {d['text']}".strip() for d in corpus]
    encoded = encoder.encode_document(texts, convert_to_tensor=True)
    gains, found, firsts = [], [], []
    for query in queries:
        grades = {d: g for q, d, g in qrels if q == query["_id"]}
        relevant = {d for d, g in grades.items() if g > 0}
        if not relevant:
            continue
        scores = encoder.similarity(encoder.encode_query(query["text"], convert_to_tensor=True), encoded)[0].tolist()
        order = sorted(range(len(corpus)), key=lambda i: -scores[i])
        names = [corpus[i]["_id"] for i in order if corpus[i]["_id"] != query["_id"]]
        dcg = sum(grades.get(d, 0) / math.log2(i + 2) for i, d in enumerate(names[:10]))
        ideal = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:10]))
        gains.append(dcg / ideal)
        found.append(len(relevant & set(names[:100])) / len(relevant))
        firsts.append(next((1 / (i + 1) for i, d in enumerate(names[:10]) if d in relevant), 0))
    return {
        name: sum(values) / len(values)
        for name, values in {"ndcg@10": gains, "recall@100": found, "mrr@10": firsts}.items()
    }


@pytest.mark.parametrize("name", ["dense", "small"])
def test_beside_sentence_transformers_and_plain_formulas(
    name: str, place: Path, tmp_path: Path, notes: list[str]
) -> None:
    """In blocks that are smaller than the corpus."""
    told: list[tuple[int, int]] = []
    result = factcli.evaluate(
        str(place / name),
        retrieval=place / "beir",
        batch_size=1,
        progress=lambda done, total, _: told.append((done, total)),
    )[0]
    qrels = [tuple(line.split("\t")) for line in (place / "beir" / "qrels.tsv").read_text().splitlines()[1:]]
    assert result["metrics"] == pytest.approx(
        expected(place / name, place / "beir", [(q, d, int(g)) for q, d, g in qrels]), abs=1e-6
    )
    assert list(result["metrics"]) == ["ndcg@10", "recall@100", "mrr@10"]
    assert 0.2 < result["metrics"]["ndcg@10"] < 1
    assert (result["task"], result["split"], result["examples"], result["majority"]) == ("beir", "test", 12, None)
    assert not result["failed_run"]
    assert (told[-1], [done for done, _ in told]) == ((163, 163), list(range(1, 164)))
    assert any("1 of 13 queries are not in" in n for n in notes)


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_the_prompts_and_the_similarity_that_a_model_names(
    similarity: str, place: Path, tmp_path: Path, notes: list[str]
) -> None:
    said = {"similarity_fn_name": similarity, "prompts": {"query": "w1 w2 ", "document": "w3 "}}
    shutil.copytree(place / "dense", tmp_path / "m")
    (tmp_path / "m" / "config_sentence_transformers.json").write_text(json.dumps(said))
    qrels = collection(tmp_path / "beir", 60, 9)
    result = factcli.evaluate(str(tmp_path / "m"), retrieval=tmp_path / "beir", batch_size=8)[0]
    found = expected(tmp_path / "m", tmp_path / "beir", qrels, similarity)
    assert result["metrics"] == pytest.approx(found, abs=1e-6)
    assert any(
        "reads queries behind 'w1 w2 ' and documents behind 'w3 ', the prompts that it names" in n for n in notes
    )


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_the_nearest_do_not_depend_on_the_blocks(similarity: str) -> None:
    """Equal ones in the order of the corpus; its own document is not found; what is no number is the last."""
    torch.manual_seed(0)
    documents, queries = torch.randn(70, 5), torch.randn(3, 5)
    documents[40] = documents[7]
    documents[3] = torch.nan
    own = torch.tensor([-1, 12, -1])
    found = []
    for size in (70, 9, 1):
        nearest = Nearest(queries, own, similarity, most=60)
        for first in range(0, 70, size):
            nearest.show(documents[first : first + size], first)
        found.append(nearest)
    a, b, c = (n.rows for n in found)
    assert torch.equal(a, b)
    assert torch.equal(a, c)
    for i, row in enumerate(a.tolist()):
        assert 3 not in row[:59] or found[0].scores[i][row.index(3)] == -torch.inf
        assert row.index(40) == row.index(7) + 1 if 7 in row[:-1] else 40 not in row
    assert 12 not in a[1].tolist()
    distances = {"dot": lambda x, y: -(x @ y), "cosine": lambda x, y: -torch.cosine_similarity(x, y, dim=0),
                 "euclidean": torch.dist, "manhattan": lambda x, y: torch.dist(x, y, 1)}  # fmt: skip
    order = sorted(
        (i for i in range(70) if i != 3), key=lambda i: float(distances[similarity](queries[0], documents[i]))
    )
    assert set(a[0, :10].tolist()) == set(order[:10])


def test_chance_is_the_mean_of_random_orders() -> None:
    draw, gains = random.Random(0), [3.0, 1.0, 1.0] + [0.0] * 17
    found = sum(ndcg(draw.sample(gains, len(gains)), gains) for _ in range(20_000)) / 20_000
    assert chance(gains, len(gains)) == pytest.approx(found, abs=0.005)
    assert chance([1.0], 4) == pytest.approx(sum(1 / math.log2(i + 1) for i in range(1, 5)) / 4)


def test_a_part_of_the_corpus_is_in_memory(place: Path, tmp_path: Path) -> None:
    """Of a document more nothing but what tells whether its id is there twice, far less than its text or vector."""
    peaks, counts = [], (3000, 3000, 6000)  # the first for what is made once; below, reading itself grows
    for turn, count in enumerate(counts):
        folder = tmp_path / str(turn)
        folder.mkdir()
        lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": f"w{i % 90} " + "w7 " * 200} for i in range(count)])
        lines(folder / "queries.jsonl", [{"_id": "q", "text": "w5"}])
        (folder / "qrels.tsv").write_text(HEADER + "q\td5\t1\n")
        gc.collect()
        tracemalloc.start()
        factcli.evaluate(str(place / "dense"), retrieval=folder, batch_size=8, max_length=6)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 40 * (counts[2] - counts[1]), peaks
    assert peaks[2] < 0.5 * (folder / "corpus.jsonl").stat().st_size


def test_the_file_of_a_runtime_finds_the_same(place: Path, tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    shutil.copytree(place / "small", tmp_path / "small")
    factcli.export(str(tmp_path / "small"), format="onnx")
    ours = factcli.evaluate(str(tmp_path / "small"), retrieval=place / "beir")[0]["metrics"]
    theirs = factcli.evaluate(str(tmp_path / "small"), retrieval=place / "beir", backend="onnx")[0]["metrics"]
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_splits_and_limits(place: Path, copy: Path) -> None:
    whole = factcli.evaluate(str(place / "dense"), retrieval=copy)[0]
    (copy / "qrels").mkdir()
    (copy / "qrels.tsv").rename(copy / "qrels" / "test.tsv")
    (copy / "qrels" / "dev.tsv").write_text(HEADER + "q1\td1\t1\nq2\td2\t0\n")
    found = factcli.evaluate(str(place / "dense"), retrieval=copy)[0]
    assert (found["metrics"], found["split"]) == (whole["metrics"], "test")
    dev = factcli.evaluate(str(place / "dense"), retrieval=copy, split="dev")[0]
    assert (dev["examples"], dev["split"]) == (1, "dev")
    few = factcli.evaluate(str(place / "dense"), retrieval=copy, limit=3)[0]
    assert (few["examples"], few["limit"]) == (3, 3)
    with pytest.raises(factcli.FactcliError, match=r"qrels/train\.tsv is not there: there are dev, test"):
        factcli.evaluate(str(place / "dense"), retrieval=copy, split="train")


def test_results_are_kept_and_go_into_the_card(place: Path, copy: Path, tmp_path: Path) -> None:
    model = tmp_path / "small"
    shutil.copytree(place / "small", model, ignore=shutil.ignore_patterns("eval_results.json"))
    factcli.evaluate(str(model), retrieval=place / "beir", update_card=True)
    factcli.evaluate(str(model), retrieval=place / "beir", update_card=True)
    with (copy / "qrels.tsv").open("a") as file:
        file.write("q1\td1\t2\n")
    factcli.evaluate(str(model), retrieval=copy, update_card=True)  # another collection of the same name
    kept = json.loads((model / "eval_results.json").read_text())
    assert [(e["task"], e["file"], e["task_type"]) for e in kept] == [("beir", "beir", "sentence-similarity")] * 2
    assert kept[0]["data"] != kept[1]["data"]
    data = ModelCard.load(model / "README.md").data
    assert data.pipeline_tag == "sentence-similarity"
    assert {(r.dataset_type, r.metric_type) for r in data.eval_results or []} == {
        ("beir", metric) for metric in ("ndcg@10", "recall@100", "mrr@10")
    }


def append(file: Path, text: str) -> None:
    with file.open("ab") as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))


BROKEN = [  # a file, what is appended to it (None: it goes; otherwise beginning with "=": all that is in it)
    ("corpus.jsonl", "{broken\n", r"Line 152 of .*corpus\.jsonl is not JSON \(.*\): write"),
    ("corpus.jsonl", "[]\n", r"Line 152 of .*corpus\.jsonl is no object"),
    ("corpus.jsonl", "\n\n" + '{"text": "w1"}\n', r"Line 154 of .*corpus\.jsonl has no _id"),
    ("corpus.jsonl", '{"_id": "x"}\n', r"Line 152 of .* has no text"),
    ("corpus.jsonl", '{"_id": "x", "text": "w1", "title": 3}\n', r"Line 152 of .* has no text"),
    ("corpus.jsonl", '{"_id": "d7", "text": "w1"}\n', r"corpus\.jsonl has the _id 'd7' twice"),
    ("corpus.jsonl", '{"_id": "x", "text": "\udce4"}\n', r"is not UTF-8 \(byte 0xe4 in line 152\)"),
    ("corpus.jsonl", '{"_id": "x", "text": "\\ud83d"}\n', r"Line 152 of .* has half of a surrogate pair"),
    ("corpus.jsonl", "=\n", r"corpus\.jsonl is empty"),
    ("corpus.jsonl", None, r"corpus\.jsonl is not there: --retrieval takes a directory with corpus\.jsonl, queries"),
    ("queries.jsonl", None, r"queries\.jsonl is not there"),
    ("queries.jsonl", "=", r"queries\.jsonl is empty"),
    ("queries.jsonl", '{"_id": "q1", "text": "w1"}\n', r"queries\.jsonl has the _id 'q1' twice"),
    ("queries.jsonl", "null\n", r"Line 14 of .*queries\.jsonl is no object"),
    ("qrels.tsv", None, r"qrels\.tsv is not there"),
    ("qrels.tsv", "=", r"qrels\.tsv is empty"),
    (
        "qrels.tsv",
        "q1\tx\t1\nq2\ty\t1\n",
        r"qrels\.tsv names 2 documents that .*corpus\.jsonl does not have, first 'x'",
    ),
    ("qrels.tsv", "x\td1\t1\n", r"qrels\.tsv names 1 queries that .*queries\.jsonl does not have, first 'x'"),
    ("qrels.tsv", "q1\td1\tmuch\n", r"Row 49 of .*qrels\.tsv has the score 'much', not a number"),
    ("qrels.tsv", "q1\td1\n", r"Row 49 of .*qrels\.tsv has 2 fields"),
    ("qrels.tsv", "q1\td1\t1\nq1\td1\t2\n", r"Row 50 of .*qrels\.tsv has another score for what an earlier row has"),
    ("qrels.tsv", "=q1\t0\td1\t1\n", r"qrels\.tsv"),
    (
        "qrels.tsv",
        "=q1\t0\td1\t1\nq2\t0\td2\t1\n",
        r"has the columns q1, 0, d1, 1: write query-id, corpus-id, score as its first row, with tabs between them",
    ),
    ("qrels.tsv", "=" + HEADER + "q1\td1\t0\n", r"no document with a score above 0 for any query"),
]


@pytest.mark.parametrize(("name", "text", "said"), BROKEN)
def test_collections_that_are_not_right(name: str, text: str | None, said: str, place: Path, copy: Path) -> None:
    if text is None:
        (copy / name).unlink()
    elif text.startswith("="):
        (copy / name).write_text(text[1:])
    else:
        append(copy / name, text)
    before = sorted((place / "dense").rglob("*"))
    with pytest.raises(factcli.FactcliError, match=said) as refused:
        factcli.evaluate(str(place / "dense"), retrieval=copy)
    assert "\n" not in str(refused.value)
    assert sorted((place / "dense").rglob("*")) == before


def test_what_cannot_be_searched(place: Path, copy: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "head", "bert", "BertForSequenceClassification")
    dense, head = str(place / "dense"), str(tmp_path / "head")
    calls: list[tuple[str, dict[str, Any], str]] = [
        (head, {"retrieval": copy}, "classifies texts: --retrieval measures embedding models"),
        (dense, {"retrieval": tmp_path / "none"}, "is neither a directory nor a Hub id owner/name"),
        (dense, {"retrieval": copy / "qrels.tsv"}, r"qrels\.tsv is a file: give a directory with corpus\.jsonl"),
        (dense, {"retrieval": "mteb/scifact:corpus"}, "of which all are read: give mteb/scifact alone"),
        (dense, {"retrieval": copy, "task": "stsb"}, "Give either --task, .* or --retrieval DIR"),
        (dense, {"retrieval": copy, "validation": copy / "qrels.tsv"}, "Give either --task"),
        (dense, {"retrieval": copy, "text_column": "text"}, "--text-column has no effect with --retrieval"),
        (dense, {"retrieval": copy, "label_names": "a,b"}, "--label-names has no effect with --retrieval"),
        (dense, {"retrieval": copy, "data_dir": copy}, "--data-dir has no effect with --retrieval"),
        (dense, {"retrieval": copy, "text_to_text": True}, "--text-to-text has no effect with --retrieval"),
        (dense, {"retrieval": copy, "data_revision": "main"}, "--data-revision has no effect with --retrieval DIR"),
    ]  # fmt: skip
    for model, options, said in calls:
        with pytest.raises(factcli.FactcliError, match=said):
            factcli.evaluate(model, **options)


def test_a_data_set_of_the_hub(hub: HubServer, owner: HubClient, place: Path, tmp_path: Path) -> None:
    """In mteb's layout: what the same collection in files gives; the entry names the commit."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("corpus", "queries"):
        entries = [json.loads(line) for line in (place / "beir" / f"{name}.jsonl").open()]
        pq.write_table(pa.Table.from_pylist([{"title": ""} | e for e in entries]), data / f"{name}.parquet")
    rows = [line.split("\t") for line in (place / "beir" / "qrels.tsv").read_text().splitlines()]
    pq.write_table(
        pa.table(dict(zip(rows[0], [*map(list, list(zip(*rows[1:], strict=True))[:2]), [float(r[2]) for r in rows[1:]]],
                          strict=True))), data / "test.parquet")  # fmt: skip
    configs = [{"config_name": config, "data_files": [{"split": split, "path": f"{split}.parquet"}]}
               for config, split in (("corpus", "corpus"), ("queries", "queries"), ("default", "test"))]  # fmt: skip
    (data / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    commit = hub.add_repo("someone/found", data, kind="dataset")
    hub.add_repo("someone/embedder", place / "dense")
    shutil.copytree(place / "dense", tmp_path / "dense")
    there = owner.call("evaluate", tmp_path / "dense", retrieval="someone/found", device="cpu")[0]
    here = factcli.evaluate(str(place / "dense"), retrieval=place / "beir")[0]
    assert (there["task"], there["metrics"], there["examples"]) == ("someone/found", here["metrics"], 12)
    kept = json.loads((tmp_path / "dense" / "eval_results.json").read_text())
    assert (kept[-1]["file"], kept[-1]["data"]) == ("someone/found", commit)
    old = owner.call("evaluate", "someone/embedder", retrieval="someone/found", data_revision=commit, device="cpu")[0]
    assert old["metrics"] == here["metrics"]
    for name, said in {
        "someone/none": "is no data set on the Hub",
        "someone/found": "has no split 'dev': it has test",
    }.items():
        assert said in str(owner.refusal("evaluate", place / "dense", retrieval=name, split="dev", device="cpu"))
