"""Faults that a server plays at chosen steps."""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

MESSAGES = {
    401: "Invalid credentials in Authorization header",
    403: "You have read access but not the required permissions for this operation",
    404: "Not found",
    409: "Conflict",
    429: "Too many requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass
class Fault:
    """One rule.

    It matches requests of `step` ("*": any, "resolve": head and get) and, where given, of one repository `repo` and of
    one file `path` (in a repository; for put, the sha256). It passes over the first `after` of them, then acts `times`
    times (None: for ever).

    `status`: answers with that error, and with `code` and `message` as the Hub's error headers, `retry_after` as
    Retry-After. `cut`: closes the connection, before an answer or, for a file, after half of its bytes; "reset" does it
    with a TCP reset. `late`: does what was asked before the error or the cut. `corrupt`: inverts the byte in the middle
    of a file. `delay`: waits so many seconds first.
    """

    step: str
    repo: str | None = None
    path: str | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after: int | None = None
    cut: bool | Literal["reset"] = False
    late: bool = False
    corrupt: bool = False
    delay: float = 0.0
    times: int | None = 1
    after: int = 0
    acted: int = 0

    def matches(self, step: str, repo: str | None, path: str | None) -> bool:
        steps = ("head", "get") if self.step == "resolve" else (self.step,)
        return (
            (self.step == "*" or step in steps)
            and self.repo in (None, repo)
            and self.path in (None, path)
            and (self.times is None or self.acted < self.times)
        )


@dataclass
class Faults:
    """Rules in the order they were added; the first that matches a request acts on it."""

    rules: list[Fault] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def add(self, step: str, **rule: Any) -> Fault:
        """A rule; keywords are Fault's. Its `acted` counts how often it acted."""
        fault = Fault(step, **rule)
        with self.lock:
            self.rules.append(fault)
        return fault

    def clear(self) -> None:
        with self.lock:
            self.rules.clear()

    def take(self, step: str, repo: str | None, path: str | None) -> Fault | None:
        with self.lock:
            for fault in self.rules:
                if not fault.matches(step, repo, path):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.acted += 1
                return fault
        return None
