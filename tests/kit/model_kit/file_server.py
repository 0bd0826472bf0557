"""A plain HTTP server of the files in a folder, with ranges and ETags: it can cut answers off, and notes what it sends.

A registry is such a server, too: `as_registry` lays an artifact out as its clients ask for it. With a `challenge` it asks for a
token, which is below /token; it can send its clients on to another server.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = b'{"token": "good"}'


@dataclass
class FileServer:
    """A server that is up."""

    folder: Path
    address: str
    cut_after_bytes: int | None = None
    """Answers longer than this end without the rest."""
    is_down: bool = False
    """Every answer is 503."""
    challenge: str = ""
    """WWW-Authenticate of requests below /v2/ that lack the token of TOKEN; empty: none is needed."""
    token_answer: bytes = TOKEN
    moved_to: str = ""
    """Where blobs are."""
    token_status: int = 200
    authorizations: list[str] = field(default_factory=list)
    """Of each request."""
    forms: list[str] = field(default_factory=list)
    """Of each POST."""
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, status and first byte of each answer."""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def offsets(self, name: str) -> list[int]:
        """Where the answers with content of this file began."""
        return [begin for path, status, begin in self.sent if path.endswith(name) and status in (200, 206)]


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    server = _Server(("127.0.0.1", 0), _Handler)
    files = FileServer(folder, f"127.0.0.1:{server.server_address[1]}")
    server.files = files  # type: ignore[attr-defined]
    with in_thread(server):
        yield files


@contextmanager
def in_thread(server: ThreadingHTTPServer) -> Iterator[None]:
    """The server answers in a thread of its own until the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def as_registry(root: Path, repository: str, tag: str, layers: Sequence[Mapping[str, Any]]) -> str:
    """Write an artifact below `root`; a layer has its `content` and the fields of its descriptor. The manifest's digest."""
    blobs = root / "v2" / repository / "blobs"
    manifests = root / "v2" / repository / "manifests"
    descriptors = []
    for layer in layers:
        digest = digest_of(layer["content"])
        blobs.mkdir(parents=True, exist_ok=True)
        (blobs / digest).write_bytes(layer["content"])
        fields = {name: value for name, value in layer.items() if name != "content"}
        descriptors.append({"digest": digest, "size": len(layer["content"]), **fields})
    manifest = json.dumps({"schemaVersion": 2, "layers": descriptors}).encode()
    manifests.mkdir(parents=True, exist_ok=True)
    (manifests / tag).write_bytes(manifest)
    (manifests / digest_of(manifest)).write_bytes(manifest)
    return digest_of(manifest)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that has seen enough of an answer is nothing to speak of."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.files.forms.append(form)  # type: ignore[attr-defined]
        self.do_GET()

    def do_GET(self) -> None:
        files: FileServer = self.server.files  # type: ignore[attr-defined]
        path = files.folder / self.path.lstrip("/")
        status, begin, content = self._of_registry(files) or self._answer(path, is_down=files.is_down)
        files.authorizations.append(self.headers.get("Authorization", ""))
        files.sent.append((self.path, status, begin))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 401:
            self.send_header("WWW-Authenticate", files.challenge)
        elif status == 307:
            self.send_header("Location", f"{files.moved_to}{self.path}")
        elif path.is_file():
            self.send_header("ETag", _etag(path))
        self.end_headers()
        cut = files.cut_after_bytes
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None and len(content) > cut:
            self.close_connection = True

    def _of_registry(self, files: FileServer) -> tuple[int, int, bytes] | None:
        if self.path.startswith("/token"):
            return files.token_status, 0, files.token_answer
        if files.challenge and self.path.startswith("/v2/") and self.headers.get("Authorization") != "Bearer good":
            return 401, 0, b""
        return (307, 0, b"") if files.moved_to and "/blobs/" in self.path else None

    def _answer(self, path: Path, *, is_down: bool) -> tuple[int, int, bytes]:
        if is_down:
            return 503, 0, b""
        if not path.is_file():
            return 404, 0, b""
        content, wanted = path.read_bytes(), self.headers.get("Range", "")
        if not wanted or self.headers.get("If-Range", _etag(path)) != _etag(path):
            return 200, 0, content
        begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        return 206, begin, content[begin:]

    def log_message(self, *_: object) -> None:
        """What is sent is noted, not printed."""


def _etag(path: Path) -> str:
    return f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"'
