"""What an endpoint is asked and what it answers."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .store import Repo, Store
from .users import Access


@dataclass
class Ask:
    """A request: `rest` are the path's segments after the repository, `sent_token` whether a token came at all."""

    method: str
    url: str
    step: str
    rest: list[str]
    query: dict[str, list[str]]
    headers: dict[str, str]
    store: Store
    access: Access | None
    sent_token: bool
    body: bytes = b""
    kind: str = "model"
    repo_id: str | None = None
    repo: Repo | None = None
    path: str | None = None

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refusal(400, "the body is no JSON object")
        return found

    def fields(self) -> dict[str, list[str]]:
        """The body's fields, from a form or from JSON."""
        if "json" in self.headers.get("content-type", ""):
            return {key: value if isinstance(value, list) else [str(value)] for key, value in self.json().items()}
        return parse_qs(self.body.decode())


@dataclass
class Reply:
    """An answer: JSON, or the bytes of a file."""

    data: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None


class Refusal(Exception):
    """An error as the Hub answers it."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: object) -> None:
        super().__init__(message)
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.status = status
        self.body = {"error": message} | more

    def reply(self) -> Reply:
        return Reply(self.body, self.status, self.headers)
