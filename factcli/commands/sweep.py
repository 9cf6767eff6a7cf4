"""sweep: many runs from one file, of which each is one command or several."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import FactcliError, UsageError
from ..measuring.plots import check_plot
from ..notes import said_before
from ..recipe import running
from ..recipe.commands import SWEEP, Asked, answers
from ..recipe.rules import Rule, refuse_idle, unless
from ..sweeping.claim import claimed
from ..sweeping.drive import (
    drive,
    known,
    missing,
    plan_of,
    read_plan,
    say_other_code,
    states,
)
from ..sweeping.engine import Engine, slots
from ..sweeping.file import Sweep, read_sweep
from ..sweeping.identity import code_version, tasks_of
from ..sweeping.layout import check_layouts, layouts_of, plot_of
from ..sweeping.on_ray import LOCAL, NONE, OnRay, is_installed
from ..sweeping.pool import Pool
from ..sweeping.product import runs_of
from ..sweeping.report import check_report, write_reports
from ..sweeping.selection import selected
from ..sweeping.sizes import with_sizes
from ..sweeping.store import PLAN, Store
from ..sweeping.task import Task
from ..sweeping.work import Record, Work

MANY = 10_000
RULES = (
    Rule(
        ("ray", "workers", "retry"),
        lambda v: unless(not (v["dry_run"] or v["status"]), "where nothing is carried out"),
    ),
    Rule(("report", "plot", "any_code"), lambda v: unless(not v["dry_run"], "with --dry-run, which reads no results")),
    Rule(("set",), lambda v: unless(v["sweep_file"] is not None, "without FILE, whose variables they are")),
    Rule(
        ("workers",),
        lambda v: unless(v["ray"] in (None, LOCAL, NONE), "with --ray ADDRESS, where the cluster decides"),
    ),
)


@answers(SWEEP)
def sweep(asked: Asked) -> dict[str, Any]:
    """Carry out the runs of a sweep file and keep each result in the folder `output`; those that are there already are
    not made again. With `dry_run` or `status` nothing is carried out.

    Raises:
        UsageError: Options that do not fit together, or have no effect; what is wrong in the file.
        FactcliError: Anything else that a user can put right: a folder that cannot be written or that another sweep
            is at work on, an address where no Ray is. A run that fails is no error: its state says so.

    Returns:
        The result object of the command's --json: `runs`, each with id, name, labels, commands, options, after (ids of
        what it needs), state (planned, running, done or failed) and result; `totals` counts them by state.
    """
    what, how, shown = asked.of(running.Sweeping), asked.of(running.Engines), asked.of(running.Reports)
    refuse_idle(RULES, vars(what) | vars(how) | vars(shown), asked.values.keys())
    if what.dry_run and what.status:
        raise UsageError("Give either --dry-run or --status.")
    if what.sweep_file is None and (what.output is None or not what.status):
        raise UsageError("Give FILE, a sweep; --status needs only the folder of one, --output.")
    output = what.output or f"results/{Path(str(what.sweep_file)).stem}"
    if shown.plot is not None:
        check_plot(Path(shown.plot), made=None if what.status else output)
    if what.sweep_file is None:
        store = Store(output)
        plan = read_plan(store)
        _check_reports(plan, selected(plan["runs"], what.only), store, shown)
        return _answer(store, plan, what, shown)
    file = read_sweep(what.sweep_file, what.set)
    tasks = _tasks(file, what.yes)
    plan = plan_of(tasks, {"file": file.path.name, "report": list(file.report), "plot": file.plot})
    wanted = selected(plan["runs"], what.only)
    check_layouts(plan)
    if what.dry_run:
        shown_runs = [each for each in plan["runs"] if each["id"] in _with_parts(plan, wanted)]
        return states(
            with_sizes(shown_runs, tasks, _planned_sizes),
        )
    store = Store(output)
    _check_reports(plan, wanted, store, shown)
    passing = []
    if not what.status:
        passing = _carry_out(store, tasks, wanted, plan, what, _engine(how), asked.called.get("progress"))
    return _answer(store, plan, what, shown, passing)


def _tasks(file: Sweep, yes: bool) -> list[Task]:
    """Of the whole file. Raises UsageError where they are none, or more than anybody means without saying so."""
    if file.size >= MANY and not yes:
        raise UsageError(
            f"{file.path} is a product of {file.size:,} runs: give --yes if that is meant, or shorten its lists."
        )
    tasks = tasks_of(file, runs_of(file))
    if not any(task.labels for task in tasks):
        raise UsageError(f"{file.path} has an empty product: 'exclude' leaves no run.")
    return tasks


def _check_reports(plan: dict[str, Any], wanted: set[str], store: Store, shown: running.Reports) -> None:
    """Whatever can be wrong with a report before there is a number for it."""
    runs = [each for each in plan["runs"] if each["id"] in wanted]
    if shown.report is not None:
        check_report(Path(shown.report), store)
    if shown.report is not None or shown.plot is not None:
        layouts = layouts_of(plan, runs)
        if shown.plot is not None:
            plot_of(plan, layouts, runs)


def _carry_out(
    store: Store, tasks: list[Task], wanted: set[str], plan: dict[str, Any], what: running.Sweeping,
    engine: tuple[Engine, int], progress: Any,
) -> list[Record]:  # fmt: skip
    if store.is_memory and any(task.keeps for task in tasks):
        raise UsageError(f"{store.url} is seen by one process only: give a directory for a sweep with shared parts.")
    store.check_own()
    store.make()
    with claimed(store) as driver:
        store.write(PLAN, plan)
        records = known(store, what.any_code)
        say_other_code([run for run in plan["runs"] if run["id"] in wanted], records, store.url)
        open_ = missing(tasks, wanted, store, records, what.retry)
        runs, threads = engine
        work = Work(store.url if store.local is None else str(store.local), perform, driver, threads, code_version())
        return drive(open_, work, store, runs, progress or (lambda done, total, name: None))


def _answer(
    store: Store, plan: dict[str, Any], what: running.Sweeping, shown: running.Reports, passing: Sequence[Record] = ()
) -> dict[str, Any]:
    """How far the sweep is, as the folder says, and what failed just now; and the reports of that."""
    records = known(store, what.any_code)
    records.by_id.update({record["id"]: record for record in passing})
    if what.status:
        say_other_code(plan["runs"], records, store.url)
    wanted = _with_parts(plan, selected(plan["runs"], what.only))
    found = states([each for each in plan["runs"] if each["id"] in wanted], store, records)
    if shown.report is not None or shown.plot is not None:
        write_reports(found["runs"], plan, shown.report, shown.plot)
    return found


def _with_parts(plan: dict[str, Any], wanted: set[str]) -> set[str]:
    after = {each["id"]: each["after"] for each in plan["runs"]}
    queue, found = list(wanted), set(wanted)
    while queue:
        new = [id for id in after[queue.pop()] if id not in found]
        queue += new
        found.update(new)
    return found


def _engine(how: running.Engines) -> tuple[Engine, int]:
    """What carries the runs out, and the threads of each."""
    address = how.ray or (LOCAL if is_installed() else NONE)
    if address != NONE and not is_installed():
        raise FactcliError("--ray needs Ray: pip install 'factcli[ray]'.")
    share = slots(how.workers)
    if address == NONE:
        return Pool(share), share.threads
    return OnRay(address, share), share.threads if address == LOCAL else 1


def perform(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """One command of a run, in whatever process: its result."""
    name = "evaluate" if command == "eval" else command
    function = getattr(import_module(f".{name}", __package__), name)  # torch comes with it
    given = {("models" if name == "evaluate" and key == "model" else key): value for key, value in values.items()}
    found = function(**given)
    return dict(found[0] if isinstance(found, list) else found)


def _planned_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters before and after, of the whole and of the targets. Raises FactcliError where there is no such plan."""
    with said_before():
        plan = perform("convert", {**values, "dry_run": True})
    return {name: plan[name] for name in ("parameters", "targets")}
