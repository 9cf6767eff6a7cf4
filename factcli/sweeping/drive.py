"""A sweep from its tasks to its results: only what is missing is carried out."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import FactcliError
from ..notes import note
from .claim import is_alive
from .engine import Engine
from .identity import code_version
from .store import DRIVER, MARKS, PLAN, RESULTS, Store
from .task import DONE, FAILED, PLANNED, RUNNING, STATES, Task
from .work import Record, Work

Watch = Callable[[int, int, str], None]


@dataclass
class Known:
    """The records in a folder: by id, and with `any_code` by what they are of, whichever version gave them."""

    by_id: dict[str, Record]
    any_code: bool = False
    by_key: dict[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for record in sorted(self.by_id.values(), key=lambda r: str(r.get("date"))):
            self.by_key[str(record.get("key"))] = record

    def of(self, planned: dict[str, Any]) -> Record | None:
        """The record of a run of a plan."""
        found = self.by_id.get(planned["id"])
        return found or (self.by_key.get(planned["key"]) if self.any_code else None)


def known(store: Store, any_code: bool) -> Known:
    """What is there."""
    return Known(store.read_all(RESULTS), any_code)


def missing(tasks: Sequence[Task], wanted: set[str], store: Store, records: Known, retry: bool) -> list[Task]:
    """What is to be carried out for the runs of `wanted` ids: those without a record (with `retry`, a result), and the
    parts that these need and that are not there, be it because a model was cleared away."""
    by_id = {task.id: task for task in tasks}

    def is_over(task: Task) -> bool:
        record = records.of(task.planned())
        return record is not None and (record["state"] == DONE or not retry)

    def is_there(task: Task) -> bool:
        record = records.of(task.planned())
        if record is None or record["state"] != DONE:
            return False
        return not task.keeps or (task.id in records.by_id and store.has_model(task.id))

    queue = [id for id in wanted if not is_over(by_id[id])]
    needed = set(queue)
    while queue:
        new = [id for id in by_id[queue.pop()].after if id not in needed and not is_there(by_id[id])]
        needed.update(new)
        queue += new
    return [task for task in tasks if task.id in needed]


def drive(tasks: Sequence[Task], work: Work, store: Store, engine: Engine, watch: Watch) -> list[Record]:
    """Carry out tasks and keep their records as they come. Raises FactcliError where they cannot be written.

    Returns:
        The records of those that failed for no lasting reason, which are not kept: the next call tries them again.
    """
    ended, passing = 0, list[Record]()

    def keep(record: Record) -> None:
        nonlocal ended
        ended += 1
        if record["state"] == DONE or record.get("lasting"):
            store.write(f"{RESULTS}/{record['id']}.json", record)
        else:
            passing.append(record)
        store.remove(f"{MARKS}/{record['id']}.json")
        if record["state"] == FAILED:
            note(f"{record['name']} failed: {record['error']}")
        watch(ended, len(tasks), record["name"])

    if tasks:
        engine.run(tasks, work, keep)
    return passing


def plan_of(tasks: Sequence[Task], report: dict[str, Any]) -> dict[str, Any]:
    """What the folder keeps of the whole sweep, so that it says its state by itself."""
    return {"code": code_version(), "runs": [task.planned() for task in tasks]} | report


def read_plan(store: Store) -> dict[str, Any]:
    """Raises FactcliError where there is none."""
    found = store.read(PLAN)
    if not isinstance(found, dict) or "runs" not in found:
        if is_alive(store.read(DRIVER)):
            raise FactcliError(f"The sweep in {store.url} is about to begin: ask again in a moment.")
        raise FactcliError(f"There is no sweep in {store.url}: give the folder that one was started with as --output.")
    return found


def states(
    planned: Sequence[dict[str, Any]], store: Store | None = None, records: Known | None = None
) -> dict[str, Any]:
    """The object of --json: every run with its state and result, and how many there are of each."""
    driver = store.read(DRIVER) if store is not None else None
    marks = store.read_all(MARKS) if store is not None and is_alive(driver) else {}
    at_work = {id for id, mark in marks.items() if driver and mark.get("driver") == driver["driver"]}
    runs = []
    for each in planned:
        record = records.of(each) if records is not None else None
        state = record["state"] if record else RUNNING if each["id"] in at_work else PLANNED
        run = {k: each[k] for k in ("id", "name", "labels", "commands", "options", "after")}
        result = record.get("result") if record else each.get("result")
        error = record["error"] if record and state == FAILED else each.get("error")
        runs.append(run | {"state": state, "result": result} | ({"error": error} if error else {}))
    count = Counter(run["state"] for run in runs)
    return {"runs": runs, "totals": {"runs": len(runs)} | {state: count[state] for state in STATES}}


def say_other_code(planned: Sequence[dict[str, Any]], records: Known, where: str) -> None:
    """A note where results are there that another version of the code gave."""
    codes = Counter(
        str(records.by_key[each["key"]].get("code"))
        for each in planned if each["id"] not in records.by_id and each["key"] in records.by_key
    )  # fmt: skip
    if codes and not records.any_code:
        said = ", ".join(f"{count} of {code}" for code, count in codes.items())
        note(
            f"{where} has results of another version of the code ({said}; this one is {code_version()}), which are not "
            "used: --any-code takes them."
        )
