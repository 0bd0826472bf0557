"""A model hub that pods reach: the demo checkpoint in the Hugging Face hub's HTTP layout, with every request noted.

It listens on the host's end of the node's link. It can be told to refuse, as the hub does for what is not there or not
public. What servers do with what they fetch is no business of it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_kit.file_server import in_thread
from server_kit.process import DEMO_MODEL

MODEL = "team/whisper-small"
PRIVATE_MODEL = "team/whisper-private"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"
WEIGHTS = "model.safetensors"
N_SLICES, SLICE_S = 16, 0.5
"""Of WEIGHTS that are held back: after 7.5 s a client has 21 MB of 23, and has logged how far it is (every 5 s, every 10 MB)."""
HELD_LIMIT_S = 120.0


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    status: int

    @property
    def is_file(self) -> bool:
        """A file's content was asked for, not only whether it is there."""
        return self.method == "GET" and "/resolve/" in self.path


@dataclass
class Hub:
    """A hub that is up. Safe to read from any thread."""

    url: str
    gives_weights: threading.Event = field(default_factory=threading.Event)
    """While it is not set, WEIGHTS come slice by slice, and their last slice not at all."""
    _asked: list[Asked] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, asked: Asked) -> None:
        with self._lock:
            self._asked.append(asked)

    def asked(self) -> list[Asked]:
        with self._lock:
            return list(self._asked)

    def n_files_sent(self) -> int:
        return sum(one.is_file and one.status == 200 for one in self.asked())


@contextmanager
def running(address: str) -> Iterator[Hub]:
    """A hub at a free port of `address`: MODEL for every client, PRIVATE_MODEL for clients with TOKEN, nothing else."""
    server = _Server((address, 0), _Handler)
    hub = Hub(f"http://{address}:{server.server_address[1]}")
    hub.gives_weights.set()
    server.hub = hub  # type: ignore[attr-defined]
    with in_thread(server):
        yield hub


@cache
def _files() -> Mapping[str, tuple[bytes, str]]:
    """Name → content and what the hub calls its etag."""
    paths = [path for path in sorted(DEMO_MODEL.iterdir()) if path.is_file()]
    contents = {path.name: path.read_bytes() for path in paths}
    return {name: (content, hashlib.sha256(content).hexdigest()) for name, content in contents.items()}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A pod that ends in the middle of a download is nothing to speak of."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(is_head=False)

    def do_HEAD(self) -> None:
        self._answer(is_head=True)

    def _answer(self, *, is_head: bool) -> None:
        status, headers, body = self._found(Path(unquote(urlsplit(self.path).path)))
        self.server.hub.note(Asked(self.command, self.path, status))  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not is_head:
            self._send(body)

    def _send(self, body: bytes) -> None:
        gives_weights: threading.Event = self.server.hub.gives_weights  # type: ignore[attr-defined]
        n_sent = 0
        if self.path.endswith(WEIGHTS):
            while n_sent < (N_SLICES - 1) * len(body) // N_SLICES and not gives_weights.wait(SLICE_S):
                self.wfile.write(body[n_sent : (n_sent := n_sent + len(body) // N_SLICES)])
            gives_weights.wait(HELD_LIMIT_S)
        self.wfile.write(body[n_sent:])

    def _found(self, path: Path) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path such as /api/models/OWNER/NAME/revision/main."""
        parts = path.parts[1:]
        is_api = parts[:2] == ("api", "models")
        owner_and_name = parts[2:4] if is_api else parts[:2]
        model = "/".join(owner_and_name)
        if model == PRIVATE_MODEL and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refused(401, "GatedRepo", f"Access to model {model} is restricted. You must be authenticated.")
        if model not in (MODEL, PRIVATE_MODEL):
            return _refused(401 if is_api else 404, "RepoNotFound", "Repository not found")
        if is_api:
            return _about(model, parts[4:])
        name = parts[-1]
        if parts[2:4] != ("resolve", COMMIT) or name not in _files():
            return _refused(404, "EntryNotFound", "Entry not found")
        content, etag = _files()[name]
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}, content

    def log_message(self, *_: object) -> None:
        """Requests are noted, not printed."""


def _about(model: str, below: tuple[str, ...]) -> tuple[int, dict[str, str], bytes]:
    """What the API says of a model, or of the files at a revision."""
    if below[:1] == ("revision",):
        siblings = [{"rfilename": name} for name in _files()]
        return _json(200, {"id": model, "modelId": model, "sha": COMMIT, "private": False, "siblings": siblings})
    if below[:1] == ("tree",):
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, (content, _) in _files().items()
        ]
        return _json(200, entries)
    return _refused(404, "EntryNotFound", "Entry not found")


def _refused(status: int, code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    answer, headers, body = _json(status, {"error": message})
    return answer, {**headers, "X-Error-Code": code, "X-Error-Message": message}, body


def _json(status: int, value: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
