"""A process of its own that calls factcli with a Hub, as often as asked: imports are paid once."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_SCRIPT = """
import json, sys
import factcli
from factcli.hub import publish
publish.DELAYS = (0.05, 0.05, 0.05)  # a test's patience
for line in sys.stdin:
    ask = json.loads(line)
    try:
        answer = {"result": getattr(factcli, ask["call"])(*ask["args"], **ask["options"])}
    except factcli.FactcliError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class Refused(Exception):
    """What a FactcliError of the other process said."""


class HubClient:
    """Context manager; `call("push", folder, "someone/small", tag="v1")` is factcli.push there."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def call(self, call: str, *args: Any, **options: Any) -> Any:
        """The result of a function of factcli. Raises Refused."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        ask = {"call": call, "args": [str(a) if isinstance(a, Path) else a for a in args], "options": options}
        self.process.stdin.write(json.dumps(ask, default=str) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def refusal(self, call: str, *args: Any, **options: Any) -> str | None:
        """What a FactcliError says; None where the call succeeds."""
        try:
            self.call(call, *args, **options)
        except Refused as refused:
            return str(refused)
        return None
