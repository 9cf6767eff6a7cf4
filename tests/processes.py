"""Processes that are quick to start: forks of a Python that has imported torch, transformers and so on already."""

import json
import os
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .said import hear

_LATE = {"HF_TOKEN", "FACTCLI_CACHE", "FACTCLI_DEBUG"}  # variables that no library reads as it is imported
_TIMEOUT = 600
_FORKS = Path(__file__).with_name("forks.py")


class Process:
    """A process that was started: can be watched, killed and waited for."""

    def __init__(self, python: "Python", pid: int) -> None:
        self._python, self.pid = python, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (negative: of a signal), None while it runs."""
        return self._wait(False)

    def wait(self) -> int:
        code = self._wait(True)
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _wait(self, block: bool) -> int | None:
        if self.returncode is None:
            self.returncode = self._python.ask({"wait": self.pid, "block": block})
        return self.returncode


class Python:
    """An interpreter in an environment of its own, which imports `imports` once, when it is first needed.

    A program with other variables that count at import runs in a process that imports for itself.
    """

    def __init__(self, executable: str | Path, env: dict[str, str], cwd: Path, imports: tuple[str, ...] = ()) -> None:
        self.executable, self.env, self.cwd, self.imports = str(executable), env, cwd, imports
        self._forks: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Python":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._forks is not None:
            self._asked.shutdown(socket.SHUT_RDWR)  # which ends it
            self._answers.close()
            self._asked.close()
            self._forks.wait(60)

    def run(self, *args: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """A program until it ends: `args` as after `python`, `env` beside the interpreter's own; no input."""
        words = [str(a) for a in args]
        if not env.keys() <= _LATE:
            done = subprocess.run(
                [self.executable, *words], cwd=cwd or self.cwd, env=self.env | env, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=_TIMEOUT,
            )  # fmt: skip
            hear(done.stdout + done.stderr)
            return done
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self.start(*words, stdout=out, stderr=err, cwd=cwd, **env).wait()
            for file in (out, err):
                file.seek(0)
            done = subprocess.CompletedProcess(words, code, out.read().decode(), err.read().decode())
            hear(done.stdout + done.stderr)
            return done

    def start(
        self, *args: str | Path, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None, cwd: Path | None = None, **env: str,
    ) -> Process:  # fmt: skip
        """A program that runs on its own, with variables that do not count at import; without files it is silent."""
        assert env.keys() <= _LATE
        with open(os.devnull, "r+b") as nothing:
            files = [(file or nothing).fileno() for file in (stdin, stdout, stderr)]
            program = {"args": [str(a) for a in args], "env": self.env | env, "cwd": str(cwd or self.cwd)}
            return Process(self, self.ask(program, files))

    def ask(self, what: dict[str, Any], files: list[int] | None = None) -> Any:
        """One question to the interpreter that forks, and its answer."""
        if self._forks is None:
            self._asked, theirs = socket.socketpair()
            with theirs:
                self._forks = subprocess.Popen(
                    [self.executable, str(_FORKS), str(theirs.fileno()), *self.imports], cwd=self.cwd, env=self.env,
                    stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                )  # fmt: skip
            self._asked.settimeout(_TIMEOUT)
            self._answers = self._asked.makefile("r", encoding="utf-8")
        try:
            socket.send_fds(self._asked, [b"."], files or [])
            self._asked.sendall(f"{json.dumps(what)}\n".encode())
            return json.loads(self._answers.readline())
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(what.get("wait", 0) or self._forks.pid, 9)
            raise
