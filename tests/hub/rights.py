"""Who may do what, with the Hub's answers to those who may not."""

from .messages import Ask, Refusal
from .store import Commit, Repo


def signed_in(ask: Ask) -> None:
    if ask.access is None:
        raise Refusal(401, "Invalid username or password.")


def readable(ask: Ask) -> Repo:
    """The repository; a private one does not exist for those who may not see it."""
    repo = ask.repo
    if repo is not None and (not repo.private or (ask.access and ask.access.reads(repo.namespace))):
        return repo
    if ask.access is None:
        raise Refusal(401, "Invalid username or password.", "RepoNotFound")
    raise Refusal(404, "Repository not found", "RepoNotFound")


def open_gate(ask: Ask) -> Repo:
    """The repository, for its files' bytes."""
    repo = readable(ask)
    if not repo.gated:
        return repo
    if ask.access is None:
        raise Refusal(
            401, f"Access to {repo.kind} {repo.id} is restricted. You must be authenticated to access it.", "GatedRepo"
        )
    if not ask.access.reads(repo.namespace) and ask.access.user not in repo.granted:
        raise Refusal(
            403, f"Access to {repo.kind} {repo.id} is restricted and you are not in the authorized list.", "GatedRepo"
        )
    return repo


def writable(ask: Ask, pull_request: bool = False) -> Repo:
    """The repository, for changes; pull requests are open to every reader with a token that writes."""
    repo = readable(ask)
    if ask.access is None:
        raise Refusal(401, "Invalid username or password.", "RepoNotFound")
    if ask.access.may_write(repo.namespace) or (pull_request and ask.access.role != "read"):
        return repo
    if ask.access.role == "read":
        raise Refusal(403, "Your token has the role 'read'; this operation needs a token that may write")
    raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")


def revision(repo: Repo, name: str) -> Commit:
    found = repo.resolve(name)
    if found is None:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return found
