"""Run as a script: a Python that imports what its arguments name, then forks for every program that it is asked to run.

The first argument is the descriptor of a socket, over which processes.py asks. A fork runs its program as Python would
from the command line, and ends as Python ends: nothing of another program is in it, only imports are paid once, and
nobody takes down what was imported.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any


def serve(asked: socket.socket) -> dict[str, Any] | None:
    """Returns in a fork, with the program that it is for, and where nobody asks any more, with None."""
    lines = asked.makefile("r", encoding="utf-8")
    while True:
        mark, descriptors, _, _ = socket.recv_fds(asked, 1, 3)
        if not mark:
            return None
        ask: dict[str, Any] = json.loads(lines.readline())
        answer = None
        if "args" in ask:
            answer = os.fork()
            if answer == 0:
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                os.close(asked.detach())
            for descriptor in descriptors:
                os.close(descriptor)
            if answer == 0:
                return ask
        else:
            process, status = os.waitpid(ask["wait"], 0 if ask["block"] else os.WNOHANG)
            if process:
                answer = os.waitstatus_to_exitcode(status)
        asked.sendall(f"{json.dumps(answer)}\n".encode())


def run(args: list[str], env: dict[str, str], cwd: str) -> None:
    """As `python ARGS` does, but that modules stay where they were found before."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if args[0] == "-m":
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    elif args[0] == "-c":
        sys.argv = ["-c", *args[2:]]
        exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = args
        sys.path[0] = os.path.dirname(args[0])
        runpy.run_path(args[0], run_name="__main__")


def end(code: int) -> None:
    """As Python ends, without freeing every module, which takes longer than most programs."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()  # what fails here fails again as Python ends, which says so in its way
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # not this folder
    gc.disable()
    for name in sys.argv[2:]:
        import_module(name)
    gc.freeze()
    gc.enable()
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    code: Any = None
    if program is not None:
        try:
            run(program["args"], program["env"], program["cwd"])
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, int | None):
        with suppress(Exception):
            end(code or 0)
    sys.exit(code)
