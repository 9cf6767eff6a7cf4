"""Users, their organizations and their tokens."""

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Access:
    """What a token opens: its user, its role, the user's organizations with the role in each, and for a fine-grained
    token the namespaces it may write to."""

    user: str
    role: str
    orgs: dict[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()

    def reads(self, namespace: str) -> bool:
        return namespace == self.user or namespace in self.orgs

    def may_write(self, namespace: str) -> bool:
        if self.role == "read" or not self.reads(namespace):
            return False
        if self.role == "fineGrained" and namespace not in self.writes:
            return False
        return self.orgs.get(namespace, "write") in ("admin", "write", "contributor")

    def whoami(self) -> dict[str, object]:
        token: dict[str, object] = {"displayName": self.role, "role": self.role}
        if self.role == "fineGrained":
            rights = ["repo.content.read", "repo.write"]
            scoped = [{"entity": {"name": name}, "permissions": rights} for name in self.writes]
            token["fineGrained"] = {"canReadGatedRepos": True, "global": [], "scoped": scoped}
        return {
            "type": "user", "id": self.user, "name": self.user, "fullname": self.user, "isPro": False,
            "orgs": [{"type": "org", "name": name, "fullname": name, "roleInOrg": role}
                     for name, role in self.orgs.items()],
            "auth": {"type": "access_token", "accessToken": token},
        }  # fmt: skip


class Users:
    """Tokens by a label for tests; a request's token is only looked up here, and kept nowhere else."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self._accesses: dict[str, Access] = {}

    def add(
        self,
        label: str,
        user: str,
        role: str = "write",
        orgs: dict[str, str] | None = None,
        writes: tuple[str, ...] = (),
    ) -> str:
        """A new token of `user`, with `role` read, write or fineGrained; returns its text."""
        token = "hf_" + secrets.token_hex(17)
        self.tokens[label] = token
        self._accesses[token] = Access(user, role, orgs or {}, writes)
        return token

    def find(self, token: str) -> Access | None:
        return self._accesses.get(token)
