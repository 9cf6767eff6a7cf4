"""The server as tests use it."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from .faults import Faults
from .messages import Ask
from .store import Repo, Store
from .users import Users
from .wire import Handler


@dataclass(frozen=True)
class Request:
    """One request: `path` without its query, `step` as faults name it, `token` whether one came, `status` what was
    answered (None: the connection was cut)."""

    method: str
    path: str
    step: str
    token: bool
    status: int | None
    repo: str | None = None
    file: str | None = None


class HubServer:
    """Context manager; keeps everything below one folder, but for what clients have of it, in `home`.

    `users.tokens` has "owner" (`someone`, who writes, and who is in the organization `lab`), "reader" (a read token of
    the same user) and "stranger" (another user, `else`). `requests` is what was asked, `errors` are tracebacks of
    mistakes in this server.
    """

    def __init__(self, folder: Path, port: int = 0, home: Path | None = None) -> None:
        self.folder, self.port, self.home = folder, port, home or folder / "home"
        self.store = Store(folder / "repositories")
        self.faults = Faults()
        self.users = Users()
        self.users.add("owner", "someone", "write", {"lab": "write"})
        self.users.add("reader", "someone", "read", {"lab": "write"})
        self.users.add("stranger", "else")
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self.stopping = Event()
        self.connections: set[socket.socket] = set()
        self.url = ""

    def __enter__(self) -> "HubServer":
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), type("BoundHandler", (Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self._http.block_on_close = False
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self.connections):  # or a client that keeps one would go on talking to this server
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def env(self) -> dict[str, str]:
        """Variables for client processes, without a token; HF_HOME is a folder of this server's."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "DISABLE_SAFETENSORS_CONVERSION": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def env_as(self, label: str) -> dict[str, str]:
        """`env` with the token of that label."""
        return self.env | {"HF_TOKEN": self.users.tokens[label]}

    def add_repo(
        self,
        repo_id: str,
        folder: Path | None = None,
        *,
        kind: str = "model",
        private: bool = False,
        gated: bool = False,
        tags: tuple[str, ...] = (),
        branch: str = "main",
        message: str = "Upload folder",
    ) -> str:
        """A repository with the files of a folder; one that exists gets a commit that replaces its files.

        Returns the id of the commit; `tags` name it.
        """
        with self.store.lock:
            repo = self.store.get(kind, repo_id)
            if repo is None:
                repo = self.store.create(kind, repo_id, repo_id.split("/")[0], private, gated)
            parent = repo.resolve(branch) or repo.head
            if folder is not None:
                files = {".gitattributes": parent.files[".gitattributes"]}
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    name, data = path.relative_to(folder).as_posix(), path.read_bytes()
                    large = repo.is_large(parent, name, len(data))
                    files[name] = repo.keep_large(data) if large else repo.keep_regular(data)
                parent = repo.commit(files, message, "", repo.namespace or repo.id, parent)
                repo.branches[branch] = parent.oid
            repo.tags |= dict.fromkeys(tags, parent.oid)
        return parent.oid

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """A repository as it is now, for assertions."""
        found = self.store.get(kind, repo_id)
        assert found is not None, f"{repo_id} does not exist"
        return found

    def exists(self, repo_id: str, kind: str = "model") -> bool:
        return self.store.get(kind, repo_id) is not None

    def log(self, ask: Ask, status: int | None) -> None:
        path = ask.url.removeprefix(self.url)
        self.requests.append(Request(ask.method, path, ask.step, ask.sent_token, status, ask.repo_id, ask.path))

    def steps(self, *names: str) -> list[str]:
        """The steps asked so far, in order; with names, only those."""
        return [request.step for request in self.requests if not names or request.step in names]
