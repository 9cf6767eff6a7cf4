"""A small Hub on 127.0.0.1 for the real huggingface_hub client: serves one directory as a repository."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """`repos`: id -> directory; `refused`: id -> (status, error code of the Hub)."""

    repos: ClassVar[dict[str, Path]] = {}
    refused: ClassVar[dict[str, tuple[int, str]]] = {}
    seen_tokens: ClassVar[list[str | None]] = []

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.seen_tokens.append(self.headers.get("authorization"))
        path = self.path.split("?")[0].removeprefix("/api/models").strip("/")
        for name, (status, code) in self.refused.items():
            if path.startswith(name):
                return self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"})
        for name, folder in self.repos.items():
            if path.startswith(name):
                return self.serve(path.removeprefix(name).strip("/").split("/"), name, folder)
        return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def serve(self, parts: list[str], name: str, folder: Path) -> None:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        if parts[0] == "resolve":
            if parts[1] not in ("main", "v1", COMMIT):
                return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            file = folder / "/".join(parts[2:])
            if not file.is_file():
                return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            data = file.read_bytes()
            return self.send(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        if parts[0] == "tree":
            tree = [
                {"type": "file", "path": str(f.relative_to(folder)), "size": f.stat().st_size,
                 "oid": hashlib.sha1(f.read_bytes()).hexdigest()}
                for f in files
            ]  # fmt: skip
            return self.send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        if len(parts) > 1 and parts[0] == "revision" and parts[1] not in ("main", "v1", COMMIT):
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": str(f.relative_to(folder))} for f in files]}
        return self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class HubServer:
    """Context manager; `url` is what HF_ENDPOINT takes."""

    def __enter__(self) -> "HubServer":
        Handler.repos.clear()
        Handler.refused.clear()
        Handler.seen_tokens.clear()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
