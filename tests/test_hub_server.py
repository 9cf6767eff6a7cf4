"""The test server, through the real clients."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, RepoFile, RepoFolder, constants, errors, file_download
from huggingface_hub.utils import _http

from . import tiny
from .hub import HubServer

REPO = "someone/tiny"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client online, without Xet, and its waits between attempts, which are only noted."""
    found: list[float] = []
    clock = SimpleNamespace(sleep=found.append)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(file_download, "time", clock)
    return found


@pytest.fixture
def hub(tmp_path: Path, waits: list[float]) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server
    assert server.errors == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder: two files for LFS, one of them by its size alone, and three regular ones."""
    made = tmp_path / "model"
    (made / "more").mkdir(parents=True)
    (made / "config.json").write_text('{"model_type": "bert"}')
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (made / "big.txt").write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    (made / "more" / "notes.txt").write_text("notes")
    (made / "README.md").write_text("---\nlicense: mit\ntags:\n- small\n---\n# A model\n")
    return made


def api(hub: HubServer, label: str | None = "owner") -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.users.tokens[label] if label else False)


def download(hub: HubServer, path: str, label: str | None = "owner", cache: str = "cache", **more: str) -> Path:
    return Path(api(hub, label).hf_hub_download(REPO, path, cache_dir=hub.folder / cache, **more))


def test_create_and_delete(hub: HubServer) -> None:
    url = api(hub).create_repo(REPO, private=True)
    assert (url.repo_id, str(url)) == (REPO, f"{hub.url}/{REPO}")
    with pytest.raises(errors.HfHubHTTPError, match="already created") as error:
        api(hub).create_repo(REPO)
    assert error.value.response.json()["url"] == f"{hub.url}/{REPO}"
    assert api(hub).create_repo(REPO, exist_ok=True).repo_id == REPO
    assert api(hub).create_repo("data", repo_type="dataset").repo_id == "someone/data"
    assert hub.repo(REPO).private
    assert not hub.exists("someone/data")
    assert hub.exists("someone/data", "dataset")
    api(hub).update_repo_settings(REPO, private=False)
    assert not hub.repo(REPO).private
    for label, status in (("reader", 403), ("stranger", 403), (None, 401)):
        with pytest.raises(errors.HfHubHTTPError) as error:
            api(hub, label).create_repo("someone/other")
        assert error.value.response.status_code == status
        with pytest.raises(errors.HfHubHTTPError) as error:
            api(hub, label).delete_repo(REPO)
        assert error.value.response.status_code == status
    api(hub).delete_repo(REPO)
    with pytest.raises(errors.RepositoryNotFoundError):
        api(hub).delete_repo(REPO)
    assert not hub.exists(REPO)


def test_whoami_and_roles(hub: HubServer) -> None:
    me = api(hub).whoami()
    assert (me["name"], me["orgs"][0]["name"], me["orgs"][0]["roleInOrg"]) == ("someone", "lab", "write")
    assert me["auth"]["accessToken"]["role"] == "write"
    assert api(hub, "reader").whoami()["auth"]["accessToken"]["role"] == "read"
    hub.users.add("fine", "someone", "fineGrained", {"lab": "read"}, writes=("someone", "lab"))
    assert api(hub, "fine").whoami()["auth"]["accessToken"]["fineGrained"]["scoped"][0]["entity"]["name"] == "someone"
    with pytest.raises(errors.HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_unknown").whoami()
    hub.add_repo(REPO)
    hub.add_repo("lab/theirs", private=True)
    api(hub, "fine").auth_check(REPO, write=True)
    api(hub, "fine").auth_check("lab/theirs")
    with pytest.raises(errors.HfHubHTTPError, match="403"):  # the organization gives no more than reading
        api(hub, "fine").auth_check("lab/theirs", write=True)
    api(hub).auth_check("lab/theirs", write=True)
    with pytest.raises(errors.HfHubHTTPError, match="role 'read'"):
        api(hub, "reader").auth_check(REPO, write=True)


def test_private_and_gated(hub: HubServer, folder: Path) -> None:
    sha = hub.add_repo(REPO, folder, private=True)
    assert api(hub, "reader").model_info(REPO).sha == sha
    for label, status in (("stranger", 404), (None, 401)):
        for ask in (api(hub, label).model_info, api(hub, label).auth_check):
            with pytest.raises(errors.RepositoryNotFoundError) as error:
                ask(REPO)
            assert error.value.response.status_code == status
        with pytest.raises(errors.RepositoryNotFoundError):
            download(hub, "config.json", label)
    hub.add_repo("someone/gated", folder, gated=True)
    assert api(hub, "stranger").model_info("someone/gated").gated == "manual"
    for label, status in (("stranger", 403), (None, 401)):
        with pytest.raises(errors.GatedRepoError) as gated:
            api(hub, label).hf_hub_download("someone/gated", "config.json", cache_dir=folder.parent / "cache")
        assert gated.value.response.status_code == status
    hub.repo("someone/gated").granted.add("else")
    api(hub, "stranger").auth_check("someone/gated")


def test_upload_folder(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    api(hub).create_repo(REPO)
    made = api(hub).upload_folder(repo_id=REPO, folder_path=folder, commit_message="All")
    repo = hub.repo(REPO)
    assert repo.head.oid == made.oid
    assert [one.title for one in repo.history(repo.head)] == ["All", "initial commit"]
    lfs = {path for path, file in repo.head.files.items() if file.sha256}
    assert lfs == {"model.safetensors", "big.txt"}
    assert hub.steps("put", "verify", "commit").count("put") == 2
    for path in folder.rglob("*"):
        if path.is_file():
            assert repo.read(path.relative_to(folder).as_posix()) == path.read_bytes()
    assert repo.head.files["config.json"].oid == _git("hash-object", str(folder / "config.json"))

    before = len(hub.requests)
    assert api(hub).upload_folder(repo_id=REPO, folder_path=folder).oid == made.oid
    assert not {"put", "commit"} & set(hub.steps()[before:])

    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")  # the same object under another name
    second = api(hub).upload_folder(repo_id=REPO, folder_path=folder, delete_patterns=["*.safetensors"])
    assert hub.steps("put").count("put") == 2
    assert sorted(repo.head.files) == [
        ".gitattributes", "README.md", "big.txt", "config.json", "more/notes.txt", "pytorch_model.bin",
    ]  # fmt: skip
    old = download(hub, "model.safetensors", revision=made.oid)
    assert old.read_bytes() == repo.read("pytorch_model.bin")
    assert [one.commit_id for one in api(hub).list_repo_commits(REPO)][:2] == [second.oid, made.oid]
    with pytest.raises(errors.EntryNotFoundError):
        download(hub, "model.safetensors")
    api(hub).delete_folder("more", REPO)
    with pytest.raises(errors.EntryNotFoundError, match="doesn't exist"):
        api(hub).delete_file("more/notes.txt", REPO)
    assert "more/notes.txt" not in repo.head.files


def _git(*args: str) -> str:
    return subprocess.run(
        ["git", "-c", "core.autocrlf=false", *args], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_the_ids_are_gits(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    hub.add_repo(REPO, folder)
    (folder / ".gitattributes").write_bytes(hub.repo(REPO).read(".gitattributes"))
    for name in ("model.safetensors", "big.txt"):
        data = (folder / name).read_bytes()
        sha = hashlib.sha256(data).hexdigest()
        (folder / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n")
    (folder / ".gitattributes").rename(tmp_path / "attributes")  # or git would apply it
    place = ["-C", str(folder)]
    _git("init", "-q", str(folder))
    _git(*place, "add", ".")
    blob = _git(*place, "hash-object", "-w", "--no-filters", str(tmp_path / "attributes"))
    _git(*place, "update-index", "--add", "--cacheinfo", f"100644,{blob},.gitattributes")
    more = next(e for e in api(hub).list_repo_tree(REPO) if e.path == "more")
    assert isinstance(more, RepoFolder)
    tree = _git(*place, "write-tree")
    assert _git(*place, "rev-parse", f"{tree}:more") == more.tree_id
    files = [e for e in api(hub).list_repo_tree(REPO, recursive=True) if isinstance(e, RepoFile)]
    assert {f.path: f.blob_id for f in files} == {
        line.split("\t")[1]: line.split()[2] for line in _git(*place, "ls-tree", "-r", tree).splitlines()
    }


def test_commits_are_atomic(hub: HubServer, folder: Path) -> None:
    start = hub.add_repo(REPO, folder)
    with pytest.raises(errors.EntryNotFoundError):
        api(hub).delete_folder("nowhere", REPO)
    bad = [CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("b.safetensors", b"b")]
    hub.faults.add("lfs_batch", status=403)
    with pytest.raises(errors.HfHubHTTPError):
        api(hub).create_commit(REPO, bad, commit_message="both")
    assert hub.repo(REPO).head.oid == start
    with pytest.raises(errors.HfHubHTTPError) as error:
        api(hub).create_commit(
            REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="late", parent_commit="0" * 39 + "1"
        )
    assert error.value.response.status_code == 412
    response = httpx2.post(
        f"{hub.url}/api/models/{REPO}/commit/main",
        headers={"authorization": f"Bearer {hub.users.tokens['owner']}"},
        content="\n".join(
            json.dumps(line)
            for line in (
                {"key": "header", "value": {"summary": "half"}},
                {"key": "file", "value": {"path": "a.txt", "content": "YQ==", "encoding": "base64"}},
                {"key": "lfsFile", "value": {"path": "b.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}},
            )
        ),
    )
    assert response.status_code == 400
    assert hub.repo(REPO).head.oid == start


def test_pull_requests_branches_and_tags(hub: HubServer, folder: Path) -> None:
    first = hub.add_repo(REPO, folder, tags=("v1",))
    add = [CommitOperationAdd("new.txt", b"new")]
    with pytest.raises(errors.HfHubHTTPError, match="create_pr=1"):
        api(hub, "stranger").create_commit(REPO, add, commit_message="New")
    opened = api(hub, "stranger").create_commit(REPO, add, commit_message="New", create_pr=True)
    assert (opened.pr_num, opened.pr_revision) == (1, "refs/pr/1")
    assert hub.repo(REPO).head.oid == first
    assert download(hub, "new.txt", revision="refs/pr/1").read_bytes() == b"new"
    add = [CommitOperationAdd("newer.safetensors", b"newer")]
    api(hub, "stranger").create_commit(REPO, add, commit_message="Newer", revision="refs/pr/1")
    assert "newer.safetensors" in hub.repo(REPO).commits[hub.repo(REPO).pulls[1]].files

    api(hub).create_branch(REPO, branch="dev")
    with pytest.raises(errors.HfHubHTTPError, match="already exists"):
        api(hub).create_branch(REPO, branch="dev")
    api(hub).create_branch(REPO, branch="dev", exist_ok=True)
    add = [CommitOperationAdd("dev.txt", b"dev")]
    second = api(hub).create_commit(REPO, add, commit_message="Dev", revision="dev").oid
    api(hub).create_tag(REPO, tag="v2", revision="dev")
    with pytest.raises(errors.HfHubHTTPError, match="already exists"):
        api(hub).create_tag(REPO, tag="v2")
    refs = api(hub).list_repo_refs(REPO, include_pull_requests=True)
    assert {b.name: b.target_commit for b in refs.branches} == {"main": first, "dev": second}
    assert {t.name: t.target_commit for t in refs.tags} == {"v1": first, "v2": second}
    assert [pull.ref for pull in refs.pull_requests or []] == ["refs/pr/1"]
    assert api(hub).model_info(REPO, revision="v2").sha == second
    assert api(hub).model_info(REPO, revision=second[:8]).sha == second
    api(hub).delete_branch(REPO, branch="dev")
    api(hub).delete_tag(REPO, tag="v2")
    with pytest.raises(errors.RevisionNotFoundError):
        api(hub).model_info(REPO, revision="dev")
    assert api(hub).model_info(REPO, revision=second).sha == second  # the commit itself stays
    with pytest.raises(errors.RevisionNotFoundError):
        api(hub).create_commit(REPO, [CommitOperationAdd("x", b"x")], commit_message="x", revision="nowhere")
    third = hub.add_repo(REPO, folder, message="Again")
    assert hub.repo(REPO).commits[third].parent == first


def test_listings(hub: HubServer, folder: Path) -> None:
    sha = hub.add_repo(REPO, folder)
    info = api(hub).model_info(REPO, files_metadata=True)
    sizes = {s.rfilename: s.size for s in info.siblings or []}
    assert sizes["model.safetensors"] == 256_000
    found = {e.path: e for e in api(hub).list_repo_tree(REPO, recursive=True, expand=True)}
    weights, notes, more = found["model.safetensors"], found["more/notes.txt"], found["more"]
    assert isinstance(weights, RepoFile)
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert isinstance(notes, RepoFile)
    assert notes.last_commit is not None
    assert notes.last_commit.oid == sha
    assert isinstance(more, RepoFolder)
    assert [e.path for e in api(hub).list_repo_tree(REPO, "more")] == ["more/notes.txt"]
    with pytest.raises(errors.EntryNotFoundError):
        list(api(hub).list_repo_tree(REPO, "nowhere"))
    assert [e.path for e in api(hub).get_paths_info(REPO, ["config.json", "more", "nowhere"])] == [
        "config.json",
        "more",
    ]
    hub.add_repo("bert-tiny", folder)  # a name without an owner
    assert api(hub, None).model_info("bert-tiny", revision="main").id == "bert-tiny"
    assert api(hub, None).file_exists("bert-tiny", "more/notes.txt")
    assert api(hub).file_exists(REPO, "config.json")
    assert not api(hub).file_exists(REPO, "nowhere.json")
    for number in range(60):
        (folder / f"{number}.txt").write_text(str(number))
    hub.add_repo(REPO, folder)
    assert len(list(api(hub).list_repo_tree(REPO, expand=True))) == 66  # 50 to a page


def test_download(hub: HubServer, folder: Path) -> None:
    sha = hub.add_repo(REPO, folder)
    data = (folder / "model.safetensors").read_bytes()
    path = download(hub, "model.safetensors", None)
    assert path.read_bytes() == data
    assert path.resolve().name == hashlib.sha256(data).hexdigest()  # the ETag
    assert path.parent.name == sha
    assert download(hub, "config.json", None).resolve().name == hub.repo(REPO).head.files["config.json"].oid
    address = f"{hub.url}/{REPO}/resolve/main/model.safetensors"
    part = httpx2.get(address, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206, data[10:20], "bytes 10-19/256000",
    )  # fmt: skip
    assert httpx2.get(address, headers={"Range": "bytes=-5"}).content == data[-5:]
    assert httpx2.get(address, headers={"Range": "bytes=256000-"}).status_code == 416
    missing = httpx2.head(f"{hub.url}/{REPO}/resolve/main/nowhere.json")
    assert (missing.status_code, missing.headers["x-repo-commit"]) == (404, sha)
    place = Path(api(hub).snapshot_download(REPO, cache_dir=folder.parent / "whole", ignore_patterns=["big*"]))
    assert sorted(p.name for p in place.rglob("*") if p.is_file()) == [
        ".gitattributes", "README.md", "config.json", "model.safetensors", "notes.txt",
    ]  # fmt: skip
    assert not api(hub).verify_repo_checksums(REPO, cache_dir=folder.parent / "whole").mismatches


def test_metadata_is_looked_at(hub: HubServer, folder: Path) -> None:
    hub.add_repo(REPO)
    (folder / "README.md").write_text("---\nlicense: mit\n")
    with pytest.raises(ValueError, match="not closed"):
        api(hub).upload_folder(repo_id=REPO, folder_path=folder)
    (folder / "README.md").write_text("# Nothing\n")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api(hub).upload_folder(repo_id=REPO, folder_path=folder)


def test_the_log_has_no_tokens(hub: HubServer, folder: Path) -> None:
    api(hub).create_repo(REPO)
    api(hub).upload_folder(repo_id=REPO, folder_path=folder)
    assert {r.step for r in hub.requests if r.token} == {
        "create", "validate_yaml", "preupload", "lfs_batch", "verify", "commit",
    }  # fmt: skip
    assert {r.step for r in hub.requests if not r.token} == {"put"}
    assert "hf_" not in repr(hub.requests)
    assert all(r.repo == REPO for r in hub.requests if r.step != "validate_yaml")


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 503])
def test_statuses_of_a_commit_are_final(hub: HubServer, waits: list[float], status: int) -> None:
    hub.add_repo(REPO)
    fault = hub.faults.add("commit", status=status, message="Not now")
    with pytest.raises(errors.HfHubHTTPError, match="Not now") as error:
        api(hub).create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="A")
    assert (error.value.response.status_code, fault.acted, waits) == (status, 1, [])
    assert hub.repo(REPO).head.title == "initial commit"


@pytest.mark.parametrize("step", ["preupload", "lfs_batch", "put", "verify"])
@pytest.mark.parametrize(
    ("rule", "waited"),
    [({"status": 429, "retry_after": 3}, 4), ({"status": 503}, 1), ({"cut": True}, 1), ({"cut": "reset"}, 1)],
)
def test_the_client_repeats_the_steps_before_a_commit(
    hub: HubServer, waits: list[float], step: str, rule: dict[str, int], waited: int
) -> None:
    hub.add_repo(REPO)
    hub.faults.add(step, **rule)
    api(hub).create_commit(REPO, [CommitOperationAdd("a.safetensors", b"a" * 100_000)], commit_message="A")
    assert waits == [waited]
    assert hub.steps(step) == [step, step]
    assert hub.repo(REPO).read("a.safetensors") == b"a" * 100_000


def test_an_upload_that_stops_leaves_objects_without_a_commit(hub: HubServer) -> None:
    hub.add_repo(REPO)
    hub.faults.add("put", status=503, times=None, after=1)
    files = [CommitOperationAdd(f"{name}.safetensors", name.encode()) for name in "ab"]
    with pytest.raises(RuntimeError, match="Error while uploading"):
        api(hub).create_commit(REPO, files, commit_message="Both", num_threads=1)
    assert hub.repo(REPO).head.title == "initial commit"
    assert len(list((hub.repo(REPO).folder / "lfs").iterdir())) == 1
    hub.faults.clear()
    files = [CommitOperationAdd(f"{name}.safetensors", name.encode()) for name in "ab"]
    before = len(hub.requests)
    api(hub).create_commit(REPO, files, commit_message="Both")
    assert hub.steps()[before:].count("put") == 1  # the other one is there


def test_a_commit_whose_answer_is_lost(hub: HubServer) -> None:
    hub.add_repo(REPO)
    hub.faults.add("commit", cut=True, late=True)
    with pytest.raises(errors.HTTPError):
        api(hub).create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="A")
    assert hub.repo(REPO).head.title == "A"
    again = api(hub).create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="A")
    assert again.oid == hub.repo(REPO).head.oid
    assert hub.steps("commit") == ["commit"]


def test_wrong_bytes_are_refused(hub: HubServer) -> None:
    hub.add_repo(REPO)
    wrong = httpx2.put(f"{hub.url}/lfs/{REPO}/{hashlib.sha256(b'right').hexdigest()}?size=5", content=b"wrong")
    assert wrong.status_code == 400
    assert not list((hub.repo(REPO).folder / "lfs").iterdir())


def test_faults_of_downloads(hub: HubServer, folder: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # a part of one is not resumed from
    hub.add_repo(REPO, folder)
    data = (folder / "model.safetensors").read_bytes()

    def get(cache: str) -> bytes:
        return download(hub, "model.safetensors", None, cache).read_bytes()

    hub.faults.add("get", cut=True, path="model.safetensors")
    assert get("cut") == data  # resumed with a Range
    assert [r.status for r in hub.requests if r.step == "get"] == [200, 206]
    hub.faults.add("get", cut="reset", path="model.safetensors")
    with pytest.raises(httpx2.ReadError):  # not resumed
        get("reset")
    hub.faults.add("get", corrupt=True)
    wrong = get("corrupt")
    assert len(wrong) == len(data)
    assert [i for i, (a, b) in enumerate(zip(wrong, data, strict=True)) if a != b] == [len(data) // 2]
    hub.faults.add("get", status=429, retry_after=2)
    waits.clear()
    assert get("limited") == data
    assert waits == [3]
    hub.faults.add("get", status=503)
    with pytest.raises(errors.HfHubHTTPError, match="503"):
        get("unavailable")
    hub.faults.add("resolve", status=500)
    assert get("broken") == data  # a file that is not in the cache is asked for again
    broken = hub.faults.add("resolve", status=500, times=None)
    with pytest.raises(errors.LocalEntryNotFoundError):
        get("down")
    assert broken.acted == 7
    hub.faults.clear()
    hub.faults.add("info", status=500, repo="someone/other", times=None)
    assert api(hub).model_info(REPO).id == REPO


def test_slow_answers(hub: HubServer) -> None:
    hub.add_repo(REPO)
    hub.faults.add("info", delay=30)
    with pytest.raises(errors.HTTPError):
        api(hub).model_info(REPO, timeout=0.3)
    assert api(hub).model_info(REPO, timeout=20).id == REPO


def test_clients_in_processes(hub: HubServer, tmp_path: Path, world: dict[str, str]) -> None:
    """transformers and datasets, with nothing but the environment to find the server."""
    glue = tmp_path / "glue"
    (glue / "mrpc").mkdir(parents=True)
    for split, rows in (("train", 5), ("validation", 3)):
        table = pa.table({"sentence1": ["a"] * rows, "sentence2": ["b"] * rows, "label": [0] * rows})
        pq.write_table(table, glue / "mrpc" / f"{split}-00000-of-00001.parquet")
    paths = "".join(f"  - split: {name}\n    path: mrpc/{name}-*\n" for name in ("train", "validation"))
    (glue / "README.md").write_text(f"---\nconfigs:\n- config_name: mrpc\n  data_files:\n{paths}---\n# GLUE\n")
    revision = hub.add_repo("nyu-mll/glue", glue, kind="dataset", tags=("v1",))
    (glue / "mrpc" / "train-00000-of-00001.parquet").unlink()
    hub.add_repo("nyu-mll/glue", glue, kind="dataset")
    tiny.make("bert").save_pretrained(tmp_path / "bert")
    hub.add_repo("someone/bert", tmp_path / "bert", private=True)
    script = """
import sys
from datasets import load_dataset
from transformers import AutoModel
print(len(load_dataset("nyu-mll/glue", "mrpc", split="train", revision=sys.argv[1])))
print(len(load_dataset("nyu-mll/glue", "mrpc", split="validation")))
print(sum(p.numel() for p in AutoModel.from_pretrained("someone/bert").parameters()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, revision], env=world | hub.env_as("reader"), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parameters = sum(p.numel() for p in tiny.make("bert").parameters())
    assert done.stdout.split() == ["5", "3", str(parameters)]
    assert "other" not in hub.steps()
    assert all(r.token for r in hub.requests)
