"""Runs on Ray: its scheduler places them, waits for their parts and tries again what a machine took with it."""

import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import FactcliError
from ..notes import note
from .engine import RETRIES, Ended, Slots
from .pool import killed
from .task import FAILED, Task
from .work import Record, Work, carry_out

LOCAL, NONE = "local", "none"


def is_installed() -> bool:
    """Whether Ray can be imported."""
    return find_spec("ray") is not None


class OnRay:
    """On the cluster at `address`, or for `local` on one of its own that lasts as long as the sweep."""

    def __init__(self, address: str, slots: Slots) -> None:
        self.address, self.slots = address, slots

    def run(self, tasks: Sequence[Task], work: Work, ended: Ended) -> None:
        """As Engine says. Raises FactcliError where no Ray is."""
        if self.address != LOCAL and "ray" not in sys.modules:  # who uses it already has said what mode it is in
            _show_token()
        import ray

        ours = not ray.is_initialized()
        with redirect_stdout(sys.stderr):  # where --json is, Ray says of nodes that died, asked or not
            if ours:
                _begin(self.address, self.slots)
            try:
                self._run(ray, tasks, work, ended)
            finally:
                if ours:
                    ray.shutdown()

    def _run(self, ray: Any, tasks: Sequence[Task], work: Work, ended: Ended) -> None:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        remote = ray.remote(carry_out)
        share = {"num_cpus": work.threads, "num_gpus": gpus, "max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
        refs: dict[str, Any] = {}
        for task in tasks:  # parts stand before what they are of
            before = [refs[id] for id in task.after if id in refs]
            refs[task.id] = remote.options(name=task.name, **share).remote(work, task, *before)
        by_ref = {refs[task.id]: task for task in tasks}
        while by_ref:
            done, _ = ray.wait(list(by_ref), num_returns=1)
            for ref in done:
                task = by_ref.pop(ref)
                ended(_record(ray, ref, task))


def _record(ray: Any, ref: Any, task: Task) -> Record:
    try:
        record: Record = ray.get(ref)
    except ray.exceptions.RayError as error:  # of a machine or a process; a run's own are in its record
        cause: BaseException = error
        while isinstance(cause, ray.exceptions.RayTaskError) and isinstance(cause.cause, BaseException):
            cause = cause.cause
        if isinstance(cause, ray.exceptions.RayError) and not isinstance(cause, ray.exceptions.RayTaskError):
            return killed(task, f"its process or machine was lost ({type(cause).__name__})")
        *_, last = str(cause).strip().splitlines() or [""]  # of a traceback the error
        said = f"it could not begin on its machine: {type(cause).__name__}: {last.strip()}"
        return task.planned() | {"state": FAILED, "error": said, "lasting": False}
    return record


def _begin(address: str, slots: Slots) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    answers = False
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == LOCAL:
            if 0 < slots.gpus < slots.count:
                note(few_gpus(slots))
            cores = slots.count * slots.threads
            ray.init("local", num_cpus=cores, num_gpus=slots.gpus or None, include_dashboard=False, **quiet)
            return
        answers = _answers(address)
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        if address == LOCAL:
            raise FactcliError(_unstarted(error)) from error
        raise FactcliError(_locked(address) if answers else _refusal(address)) from error
    count: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    note(f"On Ray at {address}: {count.get('CPU', 0):.0f} cores, {count.get('GPU', 0):.0f} GPUs.")


def few_gpus(slots: Slots) -> str:
    """Why fewer runs than were asked for go on at a time."""
    return (
        f"--workers {slots.count}: Ray gives each run a GPU of its own, so that {slots.gpus} go on at a time; with "
        "--ray none they share."
    )


def _show_token() -> None:
    """Have Ray's client show the user's token, if there is one: it reads the mode as it is imported, and shows none
    unless it is told to. A cluster that wants none does not mind."""
    kept = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_TOKEN" in os.environ or kept.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _answers(address: str) -> bool:
    """Whether somebody is known to listen. Raises OSError where nobody does: Ray itself would try for a minute."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\]]+?)\]?:(\d+)", address)
    if found is not None:
        with socket.create_connection((found[1], int(found[2])), timeout=10):
            return True
    return False


def _refusal(address: str) -> str:
    return (
        f"No Ray answers at {address}: start one with 'ray start --head' and give its address (HOST:6379), or leave "
        "--ray out."
    )


def _unstarted(error: BaseException) -> str:
    *_, last = str(error).strip().splitlines() or [type(error).__name__]
    return f"No Ray of this machine's own starts ({last.strip()}): take --ray none."


def _locked(address: str) -> str:
    return (
        f"{address} answers, but its Ray takes nobody in who lacks its token or has another version of Ray: set "
        "RAY_AUTH_TOKEN to what 'ray get-auth-token' says on its head, and install the same version."
    )
