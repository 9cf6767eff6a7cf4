"""What is published of a folder, and how: one commit, or nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, errors
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from ..card.text import merge, problems, split_card
from ..card.write import NAME, REVISION
from ..errors import FactcliError, UsageError
from ..hub.download import fetch_text
from ..hub.failures import CLIENT_FAILURES, TRY_AGAIN, endpoint, failure, http_status
from ..recipe.running import Pushing
from .files import CARD, WEIGHTS, export_files

DELAYS = (1.0, 4.0, 15.0)  # seconds before a request is repeated that the client does not repeat by itself
LONGEST = 120.0  # seconds that a server may ask to wait
T = TypeVar("T")


@dataclass(frozen=True)
class Destination:
    """A repository that the token may write to, or make: then `private` says how (None: as the account does)."""

    repo_id: str
    private: bool | None
    exists: bool


def publish(folder: Path, how: Pushing, destination: Destination | None = None) -> dict[str, Any]:
    """What `factcli.push` does, returns and raises; `destination` is what `check_destination` found, if it was asked
    before."""
    repo_id, revision, tag, create_pr = how.repo_id, how.revision, how.tag, how.create_pr
    if create_pr and (revision or tag):
        raise UsageError("--create-pr opens a branch of its own: leave out --revision and --tag.")
    files, left_out = export_files(folder)
    card = (folder / CARD).read_text(encoding="utf-8") if CARD in files else None
    wrong = problems(split_card(card)[0]) if card else []
    if wrong:
        raise FactcliError(f"{folder / CARD} has metadata that the Hub refuses ({'; '.join(wrong)}): correct them.")
    if how.dry_run:
        name = repo_id or folder.resolve().name
        return {"repo_id": name, "commit": None, "url": None, "files": files, "left_out": left_out, "changed": False}
    target = destination or check_destination(repo_id or folder.resolve().name, how.private)
    if card is not None:
        card = card.replace(NAME, target.repo_id).replace(f'"{REVISION}"', f'"{tag or REVISION}"')
    upload = _Upload(folder, [f for f in files if f != CARD], card, target, revision, create_pr, how.keep_readme)
    # A commit that was made although its answer was lost is found by the next try; a pull request is not.
    info = _repeating(lambda: upload.commit(how.commit_message), target.repo_id, after_cuts=not create_pr)
    if tag:
        _repeating(lambda: _tag(target.repo_id, tag, info.oid), target.repo_id)
    return {
        "repo_id": target.repo_id,
        "commit": info.oid,
        "url": info.pr_url or info.commit_url,
        "files": files,
        "left_out": left_out,
        "changed": info.oid != upload.before,
    }


def check_destination(repo_id: str, private: bool | None = None) -> Destination:
    """That the token may write to `repo_id` (YOU/ is put before a bare name), or make it; asked before long work.

    Raises FactcliError for a missing or wrong token, a foreign name, and a public repository that was to be private or
    the other way round.
    """
    if constants.HF_HUB_OFFLINE:
        raise FactcliError(f"{repo_id} cannot be published: HF_HUB_OFFLINE is set.")
    try:
        validate_repo_id(repo_id)
    except errors.HFValidationError as error:
        raise FactcliError(
            f"{repo_id!r} is not a Hub id: take OWNER/NAME of letters, digits, '-', '_', '.'."
        ) from error
    api = HfApi()
    try:
        me = _repeating(api.whoami, repo_id)
    except errors.LocalTokenNotFoundError as error:
        raise FactcliError(f"Publishing {repo_id} needs a token: set HF_TOKEN to one that may write.") from error
    except FactcliError as error:
        if http_status(error) == 401:
            raise FactcliError(f"{endpoint()} does not know this token: set HF_TOKEN to one that may write.") from error
        raise
    repo_id = repo_id if "/" in repo_id else f"{me['name']}/{repo_id}"
    try:
        info = _repeating(lambda: api.repo_info(repo_id), repo_id)
    except FactcliError as error:
        if not isinstance(error.__cause__, errors.RepositoryNotFoundError):
            raise
        _may_make(repo_id, me)
        return Destination(repo_id, private, exists=False)
    try:
        _repeating(lambda: api.auth_check(repo_id, write=True), repo_id)
    except FactcliError as error:
        if http_status(error) not in (401, 403, 404):
            raise
        raise FactcliError(f"This token may not write to {repo_id}: set HF_TOKEN to one that may.") from error
    if private is not None and private != bool(info.private):
        now, wanted = ("private", "public") if info.private else ("public", "private")
        raise FactcliError(
            f"{repo_id} is {now} already: choose another name, or make it {wanted} on its settings page."
        )
    return Destination(repo_id, private, exists=True)


@dataclass(frozen=True)
class Publishing:
    """What `--push-to-hub` of a command that makes a model asks for, checked before the work."""

    destination: Destination

    @classmethod
    def asked(
        cls, wanted: bool, repo_id: str | None, private: bool | None, output: str | Path | None
    ) -> "Publishing | None":
        """None where it is not `wanted`. Raises as `check_destination`."""
        if not wanted:
            return None
        name = repo_id or (Path(output).name if output is not None else None)
        if name is None:
            raise UsageError("--push-to-hub needs a name: give --hub-model-id OWNER/NAME.")
        return cls(check_destination(name, private))

    def publish(self, folder: Path) -> dict[str, Any]:
        """As `publish`; the model in `folder` stays, whatever happens."""
        try:
            return publish(folder, Pushing(folder=folder), self.destination)
        except FactcliError as error:
            again = f"factcli push {folder} {self.destination.repo_id}"
            raise FactcliError(f"{error} The model is whole in {folder}; to push it: {again}") from error


def _may_make(repo_id: str, me: dict[str, Any]) -> None:
    owner = repo_id.partition("/")[0]
    roles = {me["name"]: "admin"} | {o["name"]: o.get("roleInOrg") or "write" for o in me.get("orgs", [])}
    if owner not in roles:
        known = ", ".join(roles)
        raise FactcliError(f"{repo_id} does not exist, and this token is not {owner}'s: publish below {known}.")
    token = me.get("auth", {}).get("accessToken", {})
    scopes = token.get("fineGrained", {}).get("scoped", [])
    granted = any(s.get("entity", {}).get("name") == owner and "repo.write" in s.get("permissions", []) for s in scopes)
    if roles[owner] == "read" or token.get("role") == "read" or (token.get("role") == "fineGrained" and not granted):
        raise FactcliError(f"This token may not make {repo_id}: set HF_TOKEN to one that may write there.")


@dataclass
class _Upload:
    """One commit; made anew at each try, from what the repository is then."""

    folder: Path
    files: list[str]
    card: str | None
    target: Destination
    revision: str | None
    create_pr: bool
    keep_readme: bool
    before: str | None = None  # the branch's commit when the first try saw it

    def commit(self, message: str | None) -> Any:
        """What the client says of the new commit, or of the newest where there is nothing to change."""
        api, name, branch = HfApi(), self.target.repo_id, self.revision or "main"
        if not self.target.exists:
            _make(api, self.target)
        if self.revision and self.revision != "main":
            api.create_branch(name, branch=self.revision, exist_ok=True)
        head = api.repo_info(name, revision=branch).sha
        self.before = self.before or head
        there = {e.path for e in api.list_repo_tree(name, revision=head) if isinstance(e, RepoFile)}
        operations: list[Any] = [CommitOperationAdd(f, self.folder / f) for f in self.files]
        card = self._card(head if CARD in there else None)
        if card is not None:
            operations.append(CommitOperationAdd(CARD, card.encode()))
        # Weights under other names would be loaded in place of ours.
        stale = [f for f in sorted(there) if any(fnmatch(f, p) for p in WEIGHTS) and f not in self.files]
        operations += [CommitOperationDelete(f) for f in stale]
        message = message or f"{self.folder.resolve().name}, made with factcli"
        try:
            return api.create_commit(
                name, operations, commit_message=message, revision=None if self.create_pr else branch,
                create_pr=self.create_pr, parent_commit=head,
            )  # fmt: skip
        except ValueError as error:  # the client had the Hub check the card's metadata
            raise FactcliError(f"{self.folder / CARD} is refused by the Hub: {' '.join(str(error).split())}") from error

    def _card(self, head: str | None) -> str | None:
        if head is None or self.card is None:
            return self.card
        return None if self.keep_readme else merge(fetch_text(self.target.repo_id, CARD, head), self.card)


def _make(api: HfApi, target: Destination) -> None:
    try:
        api.create_repo(target.repo_id, private=target.private)
    except errors.HfHubHTTPError as error:
        if http_status(error) != 409:  # it is there: made by a try whose answer was lost
            raise


def _tag(repo_id: str, tag: str, commit: str) -> None:
    api = HfApi()
    existing = {t.name: t.target_commit for t in api.list_repo_refs(repo_id).tags}
    if existing.get(tag, commit) != commit:
        raise FactcliError(f"{repo_id} has a tag {tag!r} on another commit: choose another --tag (the push is done).")
    if tag not in existing:
        api.create_tag(repo_id, tag=tag, revision=commit)


def _repeating(action: Callable[[], T], repo_id: str, after_cuts: bool = True) -> T:
    """What `action` gives; repeated where the Hub was busy or, `after_cuts`, the line was cut.

    Raises FactcliError, from the last error, otherwise.
    """

    def passing(error: BaseException) -> bool:
        status = http_status(error) if isinstance(error, CLIENT_FAILURES) else 0
        return after_cuts if status is None else status in TRY_AGAIN

    try:
        return Retrying(
            retry=retry_if_exception(passing), wait=_wait, stop=stop_after_attempt(len(DELAYS) + 1), reraise=True
        )(action)
    except CLIENT_FAILURES as error:
        raise failure(error, repo_id, doing="published") from error


def _wait(state: RetryCallState) -> float:
    """Seconds before the next try: what the server asked for, or DELAYS."""
    assert state.outcome is not None
    return min(_asked_to_wait(state.outcome.exception()) or DELAYS[min(state.attempt_number, len(DELAYS)) - 1], LONGEST)


def _asked_to_wait(error: BaseException | None) -> float | None:
    value = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
    return float(value) if value.isdigit() else None
