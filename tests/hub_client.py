"""A process of its own that calls factcli with a Hub, as often as asked."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from .processes import Python
from .said import hear

_SCRIPT = """
import json, logging, sys
import factcli
notes = []
listener = logging.Handler()
listener.emit = lambda record: notes.append(record.getMessage())
logging.getLogger("factcli").addHandler(listener)
from factcli.publishing import publish
publish.DELAYS, publish.LONGEST = (0.05, 0.05, 0.05), 0.05  # a test's patience
for line in sys.stdin:
    ask = json.loads(line)
    try:
        answer = {"result": getattr(factcli, ask["call"])(*ask["args"], **ask["options"])}
    except factcli.FactcliError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer | {"notes": notes}), flush=True)
    notes.clear()
"""


class Refused(Exception):
    """What a FactcliError of the other process said."""


class HubClient:
    """Context manager; `call("push", folder, "someone/small", tag="v1")` is factcli.push there."""

    def __init__(self, python: Python, token: str) -> None:
        theirs, ours = os.pipe()
        answers, said = os.pipe()
        self.asked, self.answers = os.fdopen(ours, "w"), os.fdopen(answers)
        with os.fdopen(theirs, "rb") as asked, os.fdopen(said, "wb") as answered:
            self.process = python.start("-c", _SCRIPT, stdin=asked, stdout=answered, HF_TOKEN=token)

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.asked.close()  # which ends it
        self.process.wait()
        self.answers.close()

    def call(self, call: str, *args: Any, **options: Any) -> Any:
        """The result of a function of factcli. Raises Refused."""
        ask = {"call": call, "args": [str(a) if isinstance(a, Path) else a for a in args], "options": options}
        print(json.dumps(ask, default=str), file=self.asked, flush=True)
        answer = json.loads(self.answers.readline())
        for said in (*answer["notes"], answer.get("error", "")):
            hear(said)
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
