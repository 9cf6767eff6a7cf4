"""From the Hub and back: models and data at a commit, loaded by others, damaged on the way, or with foreign code."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import factcli
from factcli.remote_code import foreign_code

from .conftest import LIBRARIES
from .hub import HubServer
from .hub_client import HubClient, Refused
from .processes import Python
from .training_helpers import rows, save_model, write_glue

LOAD = """
import sys, torch
from transformers import AutoModelForSequenceClassification
name, revision = sys.argv[1:3]
model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision, trust_remote_code=True).eval()
assert "factcli" not in sys.modules
ids = torch.arange(12).reshape(2, 6) % 40
print(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.flatten().tolist())
"""


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "dense", "bert", "BertForSequenceClassification")


@pytest.fixture(scope="module")
def hub(hub: HubServer, tmp_path_factory: pytest.TempPathFactory, dense: Path) -> HubServer:
    hub.add_repo("someone/dense", dense)
    glue = tmp_path_factory.mktemp("glue")
    configs = []
    for task in ("sst2", "mrpc"):
        write_glue(glue, task, train=64, validation=32)
        files = [{"split": s, "path": f"{task}/{s}.parquet"} for s in ("train", "validation")]
        configs.append({"config_name": task, "data_files": files})
    (glue / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# GLUE\n")
    hub.add_repo("nyu-mll/glue", glue, kind="dataset")
    return hub


def logits(folder: Path) -> list[float]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    ids = torch.arange(12).reshape(2, 6) % 40
    with torch.no_grad():
        found: list[float] = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.flatten().tolist()
    return found


def test_convert_push_and_load_without_factcli(
    hub: HubServer, online: Python, bare_python: Path, world: dict[str, str], tmp_path: Path
) -> None:
    """Two commits of a private repository; each loads as what it was, in a process that has no factcli, and from a
    cache that was empty; without a token neither does."""
    commits, token = [], {"HF_TOKEN": hub.users.tokens["owner"]}
    for method in ("low-rank", "monarch"):
        done = online.run(
            "-m", "factcli", "convert", "someone/dense", "--method", method, "--keep", "0.5", "-o", tmp_path / method,
            *(["--blocks", "2"] if method == "monarch" else []), "--push-to-hub", "--hub-model-id", "someone/both",
            "--private", "--json", **token,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pushed = json.loads(done.stdout)["pushed"]
        assert pushed["repo_id"] == "someone/both"
        commits.append(pushed["commit"])
    env = world | hub.env | {"HF_HOME": str(tmp_path / "home")}
    with Python(bare_python, env, tmp_path, LIBRARIES) as elsewhere:
        refused = elsewhere.run("-c", LOAD, "someone/both", commits[0])
        assert refused.returncode != 0
        assert "someone/both" in refused.stderr
        for method, commit in zip(("low-rank", "monarch"), commits, strict=True):
            done = elsewhere.run("-c", LOAD, "someone/both", commit, **token)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == logits(tmp_path / method)


def test_the_recipe_repeats_the_conversion(hub: HubServer, owner: HubClient, dense: Path, tmp_path: Path) -> None:
    """From another cache, after model and data have moved on: the same bytes."""
    first = tmp_path / "first"
    owner.call("convert", "someone/dense", first, keep=0.5, criterion="kfac", calibration="sst2", allocation="global")
    made = factcli.inspect(first)
    assert re.fullmatch("[0-9a-f]{40}", made["recipe"]["data_revision"])
    assert made["made_with"]["data"] == f"nyu-mll/glue@{made['recipe']['data_revision']}"
    assert made["made_with"]["revision"] == hub.repo("someone/dense").head.oid
    moved = tmp_path / "moved"
    for task in ("sst2", "mrpc"):
        write_glue(moved, task, train=64, validation=32, learnable=False)
    (moved / "README.md").write_bytes(hub.repo("nyu-mll/glue", "dataset").read("README.md"))
    hub.add_repo("nyu-mll/glue", moved, kind="dataset")
    shutil.copytree(dense, tmp_path / "other")
    (tmp_path / "other" / "generation_config.json").write_text("{}")
    hub.add_repo("someone/dense", tmp_path / "other")
    owner.call("convert", None, tmp_path / "again", config=str(first / "factcli_recipe.yaml"))
    for name in ("model.safetensors", "config.json"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_recipe_of_a_local_model_asks_for_it(dense: Path, tmp_path: Path) -> None:
    factcli.convert(str(dense), tmp_path / "out", keep=0.5)
    with pytest.raises(factcli.FactcliError, match="local directory dense: give MODEL"):
        factcli.convert(None, tmp_path / "again", config=tmp_path / "out" / "factcli_recipe.yaml")
    factcli.convert(str(dense), tmp_path / "again", config=tmp_path / "out" / "factcli_recipe.yaml")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_train_and_measure_with_data_of_the_hub(hub: HubServer, owner: HubClient, tmp_path: Path) -> None:
    commit = hub.repo("nyu-mll/glue", "dataset").head.oid
    result = owner.call("finetune", "someone/dense", tmp_path / "out", task="mrpc", keep=0.5, schedule="direct",
                        max_steps=2, batch_size=8, save_steps=0, device="cpu", push_to_hub=True, max_length=8,
                        hub_model_id="someone/trained")  # fmt: skip
    assert result["pushed"]["commit"] == hub.repo("someone/trained").head.oid
    assert factcli.inspect(tmp_path / "out")["made_with"]["data"] == f"nyu-mll/glue@{commit}"
    again = owner.call("evaluate", "someone/trained", task="mrpc", device="cpu")[0]  # at the length that it remembers
    assert again["metrics"] == result["metrics"]
    listed = owner.call("inspect", f"someone/trained@{result['pushed']['commit']}")
    assert listed["recipe"]["training"]["data_revision"] == commit
    card = hub.repo("someone/trained").read("README.md").decode()
    assert "model-index:" in card
    assert "## Results" in card


def test_a_data_set_of_the_hub_to_calibrate_on(hub: HubServer, owner: HubClient, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = "".join(f"w{i % 9} w{i % 7} w{i % 5}\n" for i in range(40))
    (tmp_path / "data" / "train.csv").write_text("text\n" + rows)
    commit = hub.add_repo("someone/texts", tmp_path / "data", kind="dataset")
    result = owner.call("convert", "someone/dense", tmp_path / "out", keep=0.5, criterion="activation",
                        calibration="someone/texts")  # fmt: skip
    assert result["calibration"]["examples"] == 40
    assert factcli.inspect(tmp_path / "out")["made_with"]["data"] == f"someone/texts@{commit}"


@pytest.fixture(scope="module")
def place(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says no/yes, and a data set whose ids stand for yes/no, one row in four without text."""
    folder = tmp_path_factory.mktemp("place")
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    save_model(folder / "model", "bert", "BertForSequenceClassification", initializer_range=0.3, **names)
    (folder / "data" / "named").mkdir(parents=True)
    texts = [("" if i % 4 == 3 else text, ["yes", "no"].index(label)) for i, (text, label) in enumerate(rows(48, 1))]
    kinds = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["yes", "no"], "_type": "ClassLabel"}}
    table = pa.table({"text": [t for t, _ in texts], "label": [x for _, x in texts]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})
    pq.write_table(table, folder / "data" / "named" / "train.parquet")
    pq.write_table(pa.table({"text": ["w1 w2"]}), folder / "data" / "test.parquet")
    files = {
        "named": {"split": "train", "path": "named/train.parquet"},
        "held": {"split": "test", "path": "test.parquet"},
    }
    configs = [{"config_name": name, "data_files": [file]} for name, file in files.items()]
    (folder / "data" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    hub.add_repo("someone/many.v2", folder / "data", kind="dataset")
    return folder


def test_a_configuration_and_its_names_of_classes(
    hub: HubServer, owner: HubClient, place: Path, tmp_path: Path
) -> None:
    """What a file of the same rows gives; the recipe says which rows of which commit."""
    options = {"keep": 0.5, "criterion": "fisher-rows", "fisher": "empirical"}
    given = [str(place / "data" / "named" / "train.parquet"), "someone/many.v2:named"]
    for number, data in enumerate(given):
        made = owner.call("convert", place / "model", tmp_path / str(number), calibration=data, **options)
        assert made["calibration"]["examples"] == 36
    a, b = ((tmp_path / str(n) / "model.safetensors").read_bytes() for n in (0, 1))
    assert a == b
    commit = hub.repo("someone/many.v2", "dataset").head.oid
    made_with = factcli.inspect(tmp_path / "1")
    assert made_with["made_with"]["data"] == f"someone/many.v2:named@{commit}"
    assert made_with["recipe"]["data_revision"] == commit


def refused(owner: HubClient, model: Path, out: Path, data: str, said: str) -> None:
    """Calibrating on `data` ends with one line that has `said`."""
    refusal = owner.refusal("convert", model, out, keep=0.5, criterion="activation", calibration=data)
    assert refusal is not None
    assert said in refusal
    assert "\n" not in refusal


def test_what_cannot_be_had(owner: HubClient, place: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.csv").touch()
    for data, said in {
        "someone/many.v2": "has several configurations: take one of named, held, as someone/many.v2:NAME.",
        "someone/many.v2:other": "someone/many.v2 has no configuration 'other': take one of named, held.",
        "someone/many.v2:held": "someone/many.v2:held has no split 'train': it has test.",
        "someone/none": "someone/none is no data set on the Hub, or is private",
        "someone/none.csv": "someone/none.csv is not there: check the path.",
        "none": "is neither a GLUE task, a file, nor a Hub id owner/name or owner/name:configuration",
        f"{tmp_path}/folder": "folder is a directory: give a file in it (train.csv).",
    }.items():
        refused(owner, place / "model", tmp_path / "out", data, said)


def test_data_that_cannot_be_read(hub: HubServer, owner: HubClient, place: Path, tmp_path: Path) -> None:
    files = {
        "someone/scripted": ("scripted.py", b"import datasets\n"),
        "someone/cut": ("train.parquet", (place / "data" / "named" / "train.parquet").read_bytes()[:60]),
    }
    for repo_id, (name, data) in files.items():
        folder = tmp_path / repo_id
        folder.mkdir(parents=True)
        (folder / name).write_bytes(data)
        hub.add_repo(repo_id, folder, kind="dataset")
    for data_set, said in {
        "someone/scripted": "someone/scripted needs code of its own, which is not run: take a data set of plain files",
        "someone/cut": "someone/cut cannot be read from the Hub (",
    }.items():
        refused(owner, place / "model", tmp_path / "out", data_set, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("convert", {"keep": 0.5, "criterion": "activation", "calibration": "someone/many.v2:named"}),
        ("convert", {"keep": 0.5, "criterion": "activation", "calibration": "mrpc"}),
        ("finetune", {"task": "mrpc", "max_steps": 1, "device": "cpu"}),
        ("evaluate", {"task": "mrpc", "device": "cpu"}),
    ],
)
def test_a_revision_of_data_that_is_not_there(
    command: str, options: dict[str, object], owner: HubClient, place: Path, tmp_path: Path
) -> None:
    """The newest data are not what was asked for, and the recipe would say that they are."""
    output = [] if command == "evaluate" else [tmp_path / "out"]
    said = owner.refusal(command, place / "model", *output, data_revision="v9", **options)
    assert said is not None
    assert said.endswith(" has no revision 'v9': choose another --data-revision.")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_the_hub(hub: HubServer, owner: HubClient, tmp_path: Path) -> None:
    """It has no config.json, and what to do about it is more than to look for one."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    hub.add_repo("someone/adapter", tmp_path / "adapter")
    said = owner.refusal("convert", "someone/adapter", tmp_path / "out", keep=0.5)
    assert said is not None
    assert said.startswith("someone/adapter is an adapter, not a model: merge it into its base model first")
    assert not (tmp_path / "out").exists()


def test_damaged_bytes_are_found_and_fetched_again(hub: HubServer, owner: HubClient, dense: Path) -> None:
    hub.add_repo("someone/damaged", dense)
    fault = hub.faults.add("get", repo="someone/damaged", path="model.safetensors", corrupt=True, times=2)
    with pytest.raises(Refused, match="arrives damaged"):
        owner.call("convert", "someone/damaged", None, keep=0.5, allocation="global", dry_run=True)
    assert fault.acted == 2
    owner.call("convert", "someone/damaged", None, keep=0.5, allocation="global", dry_run=True)


FULL = """
import resource, sys
from factcli.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv[0] = "factcli"
main()
"""


def test_a_download_that_finds_no_room(hub: HubServer, online: Python, dense: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    hub.add_repo("someone/large", dense)
    done = online.run("-c", FULL, "convert", "someone/large", "--keep", "0.5", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "is full: free some space, or set HF_HOME" in done.stderr
    assert not (tmp_path / "out").exists()


def test_code_that_is_not_ours_runs_with_leave_only(
    hub: HubServer, owner: HubClient, dense: Path, tmp_path: Path
) -> None:
    export, ran = tmp_path / "export", tmp_path / "ran"
    factcli.convert(str(dense), export, keep=0.5)
    assert foreign_code(export) is None
    code = export / "modeling_factorized.py"
    code.write_text(code.read_text() + f"\nopen({str(ran)!r}, 'w').close()\n")
    hub.add_repo("someone/foreign", export)
    for source in ("someone/foreign", str(export)):
        with pytest.raises(Refused, match=r"modeling_factorized\.py that is not factcli's.*--trust-remote-code"):
            owner.call("evaluate", source, task="mrpc", device="cpu")
    owner.call("inspect", "someone/foreign")
    assert not ran.exists()
    owner.call("evaluate", "someone/foreign", task="mrpc", device="cpu", trust_remote_code=True)
    assert ran.exists()


@pytest.mark.parametrize("fault", [{"cut": True}, {"cut": "reset"}, {"status": 503}, {"delay": 0.5}])
def test_a_download_that_breaks_is_said_and_repeated(
    fault: dict[str, object], hub: HubServer, owner: HubClient, dense: Path
) -> None:
    repo_id = f"someone/broken-{'-'.join(f'{k}-{v}' for k, v in fault.items())}"
    hub.add_repo(repo_id, dense)
    hub.faults.add("get", repo=repo_id, path="model.safetensors", **fault)
    options = {"keep": 0.5, "allocation": "global", "dry_run": True}
    said = owner.refusal("convert", repo_id, None, **options)
    assert said is None or re.fullmatch(rf"{re.escape(repo_id)} .*: try again, or give the path of a directory\.", said)
    assert owner.call("convert", repo_id, None, **options)["parameters"]["after"] > 0


def test_every_command_takes_an_id_with_a_revision(
    hub: HubServer, owner: HubClient, dense: Path, tmp_path: Path
) -> None:
    commit = hub.add_repo("someone/old", dense, tags=("v1",))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "README.md").write_text("no model any more")
    hub.add_repo("someone/old", tmp_path / "new")
    for name in ("someone/old@v1", f"someone/old@{commit}"):
        assert owner.call("diagnose", name)["layers"]
        assert owner.call("bench", name, batch_size=1, sequence_length=8, runs=1, device="cpu")["results"]
        assert owner.call("evaluate", name, task="mrpc", device="cpu")[0]["examples"] == 32
    with pytest.raises(Refused, match="has no config"):
        owner.call("bench", "someone/old", batch_size=1, sequence_length=8, runs=1)


def test_the_card_of_a_model_on_the_hub_is_not_changed(hub: HubServer, owner: HubClient) -> None:
    before = hub.repo("someone/dense").head.oid
    said = owner.refusal("evaluate", "someone/dense", task="sst2", device="cpu", update_card=True)
    assert said == "someone/dense is on the Hub: --update-card changes cards of local directories."
    assert hub.repo("someone/dense").head.oid == before
