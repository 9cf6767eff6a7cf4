"""HTTP: reads requests, plays faults, sends answers."""

import json
import re
import socket
import struct
import traceback
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qs

from . import routes
from .faults import MESSAGES, Fault
from .messages import Ask, Refusal, Reply

if TYPE_CHECKING:
    from .server import HubServer

CHUNK = 1 << 16


class Handler(BaseHTTPRequestHandler):
    """One connection; subclasses name the server."""

    hub: "HubServer"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        try:
            self._serve()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        ask, endpoint = self._ask()
        fault = self.hub.faults.take(ask.step, ask.repo_id, ask.path) or Fault(ask.step)
        if fault.delay and self.hub.stopping.wait(fault.delay):
            return self._cut(False)
        if fault.cut and not fault.late and ask.step != "get":
            self._read(half=True)
            self._log(ask, None)
            return self._cut(fault.cut)
        ask.body = self._read()
        if fault.status and not fault.late:
            reply = _failure(fault)
        else:
            reply = self._answer(ask, endpoint)
            if fault.status:
                reply = _failure(fault)
        if fault.cut and (fault.late or reply.file is None):
            self._log(ask, None)
            return self._cut(fault.cut)
        self._send(ask, reply, fault)

    def _ask(self) -> tuple[Ask, routes.Endpoint]:
        path, _, query = self.path.partition("?")
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ").strip()
        ask = Ask(
            method=self.command, url=self.hub.url + path, step="other", rest=[], query=parse_qs(query),
            headers={key.lower(): value for key, value in self.headers.items()}, store=self.hub.store,
            access=self.hub.users.find(token), sent_token=bool(token),
        )  # fmt: skip
        return ask, routes.find(ask, path)

    def _answer(self, ask: Ask, endpoint: routes.Endpoint) -> Reply:
        try:
            if ask.sent_token and ask.access is None:
                raise Refusal(401, MESSAGES[401])
            return endpoint(ask)
        except Refusal as refusal:
            return refusal.reply()
        except Exception:
            self.hub.errors.append(traceback.format_exc())
            return Refusal(500, "an error in this server").reply()

    def _read(self, half: bool = False) -> bytes:
        """The body, or the first half of one whose length was said."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        size = int(self.headers.get("content-length") or 0)
        return self.rfile.read(size // 2 if half else size)

    def _log(self, ask: Ask, status: int | None) -> None:
        self.hub.log(ask, status)

    def _send(self, ask: Ask, reply: Reply, fault: Fault) -> None:
        if reply.file is not None:
            return self._send_file(ask, reply, fault)
        data = b"" if reply.data is None else json.dumps(reply.data).encode()
        self._log(ask, reply.status)
        self._head(reply.status, {"Content-Type": "application/json", **reply.headers, "Content-Length": len(data)})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_file(self, ask: Ask, reply: Reply, fault: Fault) -> None:
        assert reply.file is not None
        size = reply.file.stat().st_size
        status, start, end = _range(self.headers.get("range"), size)
        headers = {**reply.headers, "Content-Length": max(end - start, 0)}
        if status != 200:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}" if status == 206 else f"bytes */{size}"
        self._log(ask, status)
        self._head(status, headers)
        if self.command == "HEAD":
            return
        stop = start + (end - start) // 2 if fault.cut else end
        with reply.file.open("rb") as file:
            self._copy(file, start, stop, size // 2 if fault.corrupt else None)
        if fault.cut:
            self._cut(fault.cut)

    def _copy(self, file: BinaryIO, start: int, stop: int, flip: int | None) -> None:
        """Sends bytes start to stop of a file, the one at `flip` inverted."""
        file.seek(start)
        while start < stop:
            data = bytearray(file.read(min(CHUNK, stop - start)))
            if flip is not None and start <= flip < start + len(data):
                data[flip - start] ^= 0xFF
            self.wfile.write(data)
            start += len(data)

    def _head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()

    def _cut(self, how: object) -> None:
        """Ends the connection, with a TCP reset or in an orderly way."""
        self.close_connection = True
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.rfile.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    """Status, first byte and end for a Range header."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or found[0] == "bytes=-":
        return 200, 0, size
    if not found[1]:
        return 206, max(size - int(found[2]), 0), size
    start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    return (206, start, end) if start < end else (416, 0, 0)


def _failure(fault: Fault) -> Reply:
    assert fault.status is not None
    reply = Refusal(fault.status, fault.message or MESSAGES.get(fault.status, "Error"), fault.code).reply()
    if fault.retry_after is not None:
        reply.headers["Retry-After"] = str(fault.retry_after)
    return reply
