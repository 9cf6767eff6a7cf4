"""Publishing: the real client, a real server on this machine, and every way in which the line between them fails."""

import hashlib
import json
import shutil
import signal
import time
from pathlib import Path

import pytest

import factcli
from factcli.errors import FactcliError, UsageError

from .hub import HubServer
from .hub_client import HubClient, Refused
from .processes import Python
from .training_helpers import save_model

FILES = {
    "README.md", "config.json", "configuration_factorized.py", "embeddings_factorized.py",
    "factcli_recipe.yaml", "kernels_factorized.py", "model.safetensors", "modeling_factorized.py",
    "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    save_model(folder / "dense")
    factcli.convert(str(folder / "dense"), folder / "small", method="monarch", blocks=2, keep=0.5)
    return folder / "small"


@pytest.fixture
def export(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "small"))


def names(hub: HubServer, repo_id: str) -> set[str]:
    return set(hub.repo(repo_id).head.files) - {".gitattributes"}


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()


def test_one_commit_and_no_second_one_for_the_same(hub: HubServer, owner: HubClient, export: Path) -> None:
    before = digest(export)
    pushed = owner.call("push", export, "someone/one", commit_message="The first", private=True)
    repo = hub.repo("someone/one")
    assert repo.private
    assert pushed["commit"] == repo.head.oid
    assert pushed["url"].endswith(f"/someone/one/commit/{repo.head.oid}")
    assert repo.head.title == "The first"
    assert names(hub, "someone/one") == FILES == set(pushed["files"])
    again = owner.call("push", export, "someone/one")
    assert (again["commit"], again["changed"], pushed["changed"]) == (pushed["commit"], False, True)
    assert digest(export) == before


def test_the_command_says_what_it_did_and_how_to_load_it(hub: HubServer, online: Python, export: Path) -> None:
    (export / "notes.txt").write_text("not for others")
    token = {"HF_TOKEN": hub.users.tokens["owner"]}
    for said in ("Published", "Nothing changed:"):
        done = online.run("-m", "factcli", "push", export, "someone/said", **token)
        commit = hub.repo("someone/said").head.oid
        assert done.stderr.splitlines()[-3:] == [
            "Left out: notes.txt",
            f"{said} someone/said, commit {commit}. To load it:",
            f'from_pretrained("someone/said", revision="{commit}", trust_remote_code=True)',
        ]
        assert done.stdout.endswith(f"/someone/said/commit/{commit}\n")
        assert done.returncode == 0


def test_what_lies_beside_the_model_stays_here(hub: HubServer, owner: HubClient, export: Path) -> None:
    (export / "checkpoint-10").mkdir()
    stray = ("optimizer.pt", "notes.txt", ".env", "checkpoint-10/config.json", "train.csv", "training_args.bin")
    for name in stray:
        (export / name).write_text("not for others")
    (export / "token.json").symlink_to(export / ".env")
    (export / "eval_results.json").write_text("{}")
    listed = owner.call("push", export, "someone/stray", dry_run=True)
    assert not hub.exists("someone/stray")
    assert set(listed["files"]) == FILES | {"eval_results.json"}
    assert set(listed["left_out"]) == {*stray, "token.json"}
    owner.call("push", export, "someone/stray")
    assert names(hub, "someone/stray") == FILES | {"eval_results.json"}


def test_branch_tag_and_pull_request(hub: HubServer, owner: HubClient, export: Path) -> None:
    first = owner.call("push", export, "someone/refs", tag="v1")
    repo = hub.repo("someone/refs")
    assert repo.tags["v1"] == first["commit"]
    assert 'name, revision = "someone/refs", "v1"' in repo.read("README.md").decode()
    (export / "eval_results.json").write_text("{}")
    side = owner.call("push", export, "someone/refs", revision="side")
    assert repo.branches["side"] == side["commit"] != repo.branches["main"]
    request = owner.call("push", export, "someone/refs", create_pr=True)
    assert request["url"].endswith("/discussions/1")
    assert repo.branches["main"] == first["commit"]
    with pytest.raises(Refused, match="tag 'v1' on another commit"):
        owner.call("push", export, "someone/refs", tag="v1")
    with pytest.raises(Refused, match="--create-pr"):
        owner.call("push", export, "someone/refs", create_pr=True, revision="side")


def test_a_card_of_others_keeps_its_words(hub: HubServer, owner: HubClient, export: Path, tmp_path: Path) -> None:
    theirs = "---\nlicense: mit\ntags: [mine]\n---\n# My model\n\nMy own words.\n"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_text(theirs)
    hub.add_repo("someone/card", tmp_path / "theirs")
    repo = hub.repo("someone/card")
    owner.call("push", export, "someone/card", keep_readme=True)
    assert repo.read("README.md").decode() == theirs
    owner.call("push", export, "someone/card")
    card = repo.read("README.md").decode()
    assert card.startswith("---\nlicense: mit\n")
    assert "- mine\n" in card
    assert "- factcli\n" in card
    assert "# My model\n\nMy own words.\n" in card
    assert "\n## dense, factorized (Monarch)" in card
    # What they add around our part stays, our part is renewed, and nothing is there twice.
    (tmp_path / "theirs" / "README.md").write_text(card.replace("## Limits", "## Stale") + "\nA last word.\n")
    hub.add_repo("someone/card", tmp_path / "theirs")
    owner.call("push", export, "someone/card")
    card = repo.read("README.md").decode()
    assert card.count("factorized (Monarch)") == card.count("My own words.") == card.count("A last word.") == 1
    assert "## Stale" not in card


def test_weights_of_an_earlier_form_go(hub: HubServer, owner: HubClient, export: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "vocab.txt"):
        (old / name).write_text("{}")
    hub.add_repo("someone/old", old)
    owner.call("push", export, "someone/old")
    assert names(hub, "someone/old") == FILES | {"vocab.txt"}


@pytest.mark.parametrize(
    ("who", "repo_id", "said"),
    [
        ("reader", "someone/new", "may not make someone/new"),
        ("owner", "else/new", "not else's"),
        ("stranger", "someone/public", "may not write to someone/public"),
        ("owner", "someone/public", "is public already"),
        ("owner", "a/b/c", "is not a Hub id"),
        (None, "someone/new", "set HF_TOKEN"),
        ("nobody", "someone/new", "does not know this token"),
    ],
)
def test_rights_are_asked_before_the_work(
    who: str | None, repo_id: str, said: str, hub: HubServer, online: Python, small: Path, tmp_path: Path
) -> None:
    hub.add_repo("someone/public", small)
    token = hub.users.tokens.get(str(who), "hf_wrongwrongwrongwrong")
    done = online.run(
        "-m", "factcli", "convert", small.with_name("dense"), "--keep", "0.5", "-o", tmp_path / "out", "--push-to-hub",
        "--private", "--hub-model-id", repo_id, **({"HF_TOKEN": token} if who else {}),
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert (token if who else "hf_") not in done.stderr
    assert not (tmp_path / "out").exists()


STEPS = ("whoami", "info", "create", "tree", "validate_yaml", "preupload", "lfs_batch", "put", "verify", "commit")
TROUBLES = {
    "401": {"status": 401},
    "403": {"status": 403},
    "404": {"status": 404},
    "409": {"status": 409},
    "429": {"status": 429, "retry_after": 1},
    "500": {"status": 500},
    "503": {"status": 503},
    "cut": {"cut": True},
    "reset": {"cut": "reset"},
    "cut after the deed": {"cut": True, "late": True},
    "slow": {"delay": 0.1},
}
PASSING = ("429", "500", "503", "cut", "reset", "cut after the deed", "slow")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_once_at_every_step(trouble: str, hub: HubServer, owner: HubClient, export: Path) -> None:
    """A clear sentence, or success; then at the latest at the second try all is there, and never a part before."""
    before = digest(export)
    for step in STEPS:
        repo_id = f"someone/{step}-{trouble.replace(' ', '-')}"
        fault = hub.faults.add(step, **TROUBLES[trouble])
        said = owner.refusal("push", export, repo_id)
        if said:
            assert trouble not in PASSING, f"{step}: {said}"
            assert said.endswith("."), step
            assert hub.users.tokens["owner"] not in said
            assert not hub.exists(repo_id) or names(hub, repo_id) == set(), step
            owner.call("push", export, repo_id)
        assert fault.acted == 1, step
        assert names(hub, repo_id) == FILES, step
        assert len(hub.repo(repo_id).history(hub.repo(repo_id).head)) == 2, step  # the empty one, and ours
    assert digest(export) == before


def test_trouble_that_stays_is_said(hub: HubServer, owner: HubClient, export: Path) -> None:
    fault = hub.faults.add("commit", status=503, times=None)
    with pytest.raises(Refused, match=r"someone/down was not published: .* HTTP 503.*: try again\."):
        owner.call("push", export, "someone/down")
    assert fault.acted > 1
    fault.times = 0
    assert names(hub, "someone/down") == set()


def test_a_failed_push_leaves_the_conversion(hub: HubServer, online: Python, small: Path, tmp_path: Path) -> None:
    hub.faults.add("commit", status=403)
    token = {"HF_TOKEN": hub.users.tokens["owner"]}
    done = online.run(
        "-m", "factcli", "convert", small.with_name("dense"), "--keep", "0.5", "-o", tmp_path / "out", "--push-to-hub",
        "--hub-model-id", "someone/later", **token,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"factcli push {tmp_path / 'out'} someone/later" in done.stderr
    done = online.run("-m", "factcli", "push", tmp_path / "out", "someone/later", "--json", **token)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"] == hub.repo("someone/later").head.oid


@pytest.mark.parametrize(
    ("folder", "said"),
    [("nowhere", "is not a directory"), ("empty", "has no config.json"), ("cut", "is damaged or cut short")],
)
def test_no_whole_model_is_not_pushed(
    folder: str, said: str, hub: HubServer, owner: HubClient, export: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(export, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"1234")
    with pytest.raises(Refused, match=said):
        owner.call("push", tmp_path / folder, "someone/none")
    assert not hub.exists("someone/none")


def test_metadata_that_the_hub_refuses(hub: HubServer, owner: HubClient, export: Path) -> None:
    card = (export / "README.md").read_text().replace("---\n", "---\nbase_model: /home/me/model\n", 1)
    (export / "README.md").write_text(card)
    with pytest.raises(Refused, match="base_model has an entry that is not a Hub id"):
        owner.call("push", export, "someone/metadata")
    assert not hub.exists("someone/metadata")


def test_metadata_that_only_the_hub_refuses(hub: HubServer, owner: HubClient, export: Path) -> None:
    """What it looks at is its own affair: to YAML this is a key like any other."""
    card = (export / "README.md").read_text().replace("---\n", "---\nmy own: note\n", 1)
    (export / "README.md").write_text(card)
    with pytest.raises(Refused, match=r"README\.md is refused by the Hub: .*line 2: neither a key nor an item"):
        owner.call("push", export, "someone/refused")
    assert names(hub, "someone/refused") == set()


def test_weights_behind_a_link(export: Path) -> None:
    """One that stays inside is read, but what is sent are files."""
    (export / "model.safetensors").rename(export / "weights.bin")
    (export / "model.safetensors").symlink_to("weights.bin")
    with pytest.raises(FactcliError, match=r"model\.safetensors of .* is a link: put the file itself there\."):
        factcli.push(export, "someone/link", dry_run=True)


def test_what_cannot_be_published_is_said_before_the_work(small: Path, tmp_path: Path) -> None:
    dense = str(small.with_name("dense"))
    with pytest.raises(UsageError, match="--push-to-hub needs a name: give --hub-model-id OWNER/NAME"):
        factcli.convert(dense, keep=0.5, push_to_hub=True)
    with pytest.raises(FactcliError, match="someone/off cannot be published: HF_HUB_OFFLINE is set"):
        factcli.convert(dense, tmp_path / "out", keep=0.5, push_to_hub=True, hub_model_id="someone/off")
    assert not list(tmp_path.iterdir())


def test_killed_in_the_middle_and_pushed_again(hub: HubServer, online: Python, export: Path) -> None:
    """Killed when the weights are there and the commit is asked for: nothing is seen of it; the next push finishes."""
    token = {"HF_TOKEN": hub.users.tokens["owner"]}
    fault = hub.faults.add("commit", delay=60)
    command = ("-m", "factcli", "push", export, "someone/killed", "-q")
    process = online.start(*command, **token)
    until = time.monotonic() + 120
    while not fault.acted and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert fault.acted == 1
    assert names(hub, "someone/killed") == set()
    sent = len(hub.steps("put"))
    done = online.run(*command, **token)
    assert done.returncode == 0, done.stderr
    assert names(hub, "someone/killed") == FILES
    assert len(hub.steps("put")) == sent  # the weights were not sent again
