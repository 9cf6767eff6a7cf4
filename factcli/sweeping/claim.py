"""One driver a folder: a lock where the disk has locks, and a sign of life that others see.

On a disk of many machines, or in a bucket, a lock is not certain. There the sign of life decides: who finds one watches
it for a while, and takes over what stands still. Should two drivers run after all, both do the same runs and write the
same results, each whole: work is lost, no result is.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..errors import FactcliError
from ..files.atomic import Busy, lock_of, locked
from ..notes import note
from .store import DRIVER, MARKS, WORK, Store

BEAT = 5.0  # seconds between signs of life
PATIENCE = 4 * BEAT  # after which one that stands still is none


@contextmanager
def claimed(store: Store) -> Iterator[str]:
    """Around a sweep: the name of this driver. Raises FactcliError where another one is at work."""
    with ExitStack() as held:
        certain = False
        if store.local is not None:
            try:
                certain = held.enter_context(locked(lock_of(store.local / DRIVER)))
            except Busy:
                raise FactcliError(_refusal(store, store.read(DRIVER))) from None
        found = store.read(DRIVER)
        if found and not (certain and found.get("host") == socket.gethostname()):
            _wait_for_silence(store, found)
        name = secrets.token_hex(8)
        store.remove(MARKS)
        store.remove(WORK)  # of runs that were killed
        _beat(store, name)
        over = threading.Event()
        beating = threading.Thread(target=_keep_beating, args=(store, name, over), daemon=True)
        beating.start()
        try:
            yield name
        finally:
            over.set()
            beating.join()
            store.remove(WORK)
            store.remove(DRIVER)
            store.remove(MARKS)


def is_alive(driver: dict[str, Any] | None) -> bool:
    """Whether a sign of life is young, by the clocks of two machines."""
    return driver is not None and abs(time.time() - float(driver.get("seen", 0))) < max(60.0, PATIENCE)


def _wait_for_silence(store: Store, found: dict[str, Any]) -> None:
    note(
        f"A driver on {found.get('host')} was at work on {store.url}: seeing for {PATIENCE:.0f} s whether it still is."
    )
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(BEAT / 5)
        now = store.read(DRIVER)
        if now is None:
            return
        if now.get("seen") != found.get("seen"):
            raise FactcliError(_refusal(store, now))


def _refusal(store: Store, driver: dict[str, Any] | None) -> str:
    where = f" (process {driver['pid']} on {driver['host']})" if driver else ""
    return (
        f"Another sweep is at work on {store.url}{where}: wait until it is done (--status shows how far it is), "
        "or give another --output."
    )


def _beat(store: Store, name: str) -> None:
    store.write(DRIVER, {"driver": name, "host": socket.gethostname(), "pid": os.getpid(), "seen": time.time()})


def _keep_beating(store: Store, name: str, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(FactcliError):  # results that cannot be written stop the sweep
            _beat(store, name)
