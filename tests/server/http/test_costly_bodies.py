"""Bodies that are cheap to send and dear to read: bounded work per byte, and no long step of the event loop."""

from __future__ import annotations

import asyncio
import gzip
import selectors
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from http_kit.running import BOUNDARY, FORM_TYPE, post_head, running

MIB = 1 << 20
MAX_CPU_PER_MIB_S = 1.0
MAX_STEP_S = 0.1
"""CPU time of one iteration of the event loop, during which nothing else is answered."""
LINE = f"--{BOUNDARY}\r\n".encode()
HEAD = b'Content-Disposition: form-data; name="%s"\r\n'
END = f"\r\n--{BOUNDARY}--\r\n".encode()


def part(name: bytes, value: bytes = b"", more: bytes = b"") -> bytes:
    return LINE + HEAD % name + more + b"\r\n" + value + b"\r\n"


MODEL = part(b"model", b"whisper-1")
WHOLE = MODEL + LINE + HEAD % b"file" + b"\r\nRIFFxxxxWAVE" + END


@dataclass(frozen=True)
class Body:
    """A body as it is sent, with more headers."""

    name: str
    content: Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)
    chunk_bytes: int = 0
    """Chunked transfer encoding with chunks of this size; 0: Content-Length."""


BODIES = [
    Body("newlines_before_the_first_boundary", lambda: b"\r\n" * (4 * MIB) + WHOLE),
    Body("bare_newlines_before_the_first_boundary", lambda: b"\n" * (8 * MIB) + WHOLE),
    Body("nearly_boundaries_before_the_first", lambda: b"--b0undar\r\n" * (MIB // 2) + WHOLE),
    Body("long_preamble_in_gzip", lambda: gzip.compress(b"\r\n" * (12 * MIB) + WHOLE), {"Content_Encoding": "gzip"}),
    Body("zeros_in_deflate", lambda: zlib.compress(WHOLE + bytes(24 * MIB)), {"Content_Encoding": "deflate"}),
    Body("unknown_content_encoding", lambda: WHOLE, {"Content_Encoding": "br, gzip, gzip"}),
    Body("newlines_after_the_last_boundary", lambda: WHOLE + b"\n" * (8 * MIB)),
    Body("boundaries_after_the_last", lambda: WHOLE + LINE * (MIB // 2)),
    Body("empty_parts", lambda: (LINE + b"\r\n") * (MIB // 4)),
    Body("parts_without_content", lambda: MODEL + part(b"keywords[]") * 50_000 + END),
    Body("parts_with_unknown_names", lambda: b"".join(part(b"x%d" % n) for n in range(50_000)) + END),
    Body("boundaries_only", lambda: LINE * (MIB // 2)),
    Body("header_lines_without_end", lambda: LINE + b"A: b\r\n" * MIB),
    Body("headers_in_every_part", lambda: (LINE + HEAD % b"prompt" + b"A: b\r\n" * 29 + b"\r\n\r\n") * 10_000),
    Body("one_endless_header", lambda: LINE + b"A: " + b"b" * (8 * MIB)),
    Body("continuation_lines", lambda: LINE + HEAD % b"model" + b" x\r\n" * MIB),
    Body("long_disposition", lambda: LINE + HEAD % (b'a"; ' * 2_000) + END),
    Body("quotes_in_disposition", lambda: (LINE + HEAD % (b"; a=\\" * 1_500) + b"\r\n\r\n") * 500),
    Body("one_file_of_line_breaks", lambda: MODEL + part(b"file", b"\r\n" * (4 * MIB))[:-2] + END),
    Body("file_of_nearly_boundaries", lambda: MODEL + part(b"file", b"\r\n--b0undar" * (MIB // 2))[:-2] + END),
    Body(
        "file_in_base64", lambda: MODEL + part(b"file", b"AAAA" * MIB, b"Content-Transfer-Encoding: base64\r\n") + END
    ),
    Body(
        "file_in_broken_base64",
        lambda: MODEL + part(b"file", b"\r\n \t" * MIB, b"Content-Transfer-Encoding: base64\r\n") + END,
    ),
    Body("many_long_fields", lambda: part(b"keywords[]", b"k" * 60_000) * 200 + END),
    Body("one_long_field", lambda: part(b"prompt", b"x" * (8 * MIB)) + END),
    Body("nested_json", lambda: MODEL + part(b"chunking_strategy", b"[" * 65_000) + part(b"file", b"x")[:-2] + END),
    Body("long_field_name", lambda: part(b"language[" + b"9" * 8_000 + b"]", b"de") * 256 + END),
    Body("keywords_of_one_letter", lambda: MODEL + part(b"keywords[]", b"k") * 250 + part(b"file", b"x")[:-2] + END),
    Body(
        "slow_charset", lambda: MODEL + part(b"prompt", b"x" * 60_000, b"Content-Type: a; charset=punycode\r\n") + END
    ),
    Body("chunks_of_one_byte", lambda: MODEL + part(b"file", b"x" * (MIB // 4))[:-2] + END, chunk_bytes=1),
    Body("newlines_in_chunks_of_one_byte", lambda: b"\n" * (MIB // 4) + WHOLE, chunk_bytes=1),
]


def on_the_wire(body: Body) -> bytes:
    content = body.content()
    if not body.chunk_bytes:
        return post_head(Content_Type=FORM_TYPE, Content_Length=len(content), **body.headers) + content
    size = body.chunk_bytes
    chunks = (b"%x\r\n%s\r\n" % (size, content[start : start + size]) for start in range(0, len(content), size))
    return post_head(Content_Type=FORM_TYPE, Transfer_Encoding="chunked") + b"".join(chunks) + b"0\r\n\r\n"


class MeteredSelector(selectors.DefaultSelector):
    """Measures the CPU time of every iteration of an event loop: from the end of one `select` to the next."""

    def __init__(self) -> None:
        super().__init__()
        self._start_s = 0.0
        self.reset()

    def reset(self) -> None:
        self.spent_s = self.max_step_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        step_s = time.thread_time() - self._start_s
        self.spent_s += step_s
        self.max_step_s = max(self.max_step_s, step_s)
        ready = super().select(timeout)
        self._start_s = time.thread_time()
        return ready


@dataclass
class MeteredServer:
    """A server whose event loop has a thread of its own."""

    port: int
    meter: MeteredSelector


@pytest.fixture(scope="module")
def server() -> Iterator[MeteredServer]:
    meter = MeteredSelector()
    started: Future[int] = Future()
    ended: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with running(MAX_UPLOAD_BYTES=str(32 * MIB)) as server:
            ended.append((loop, stop))
            started.set_result(server.port)
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(meter)) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    yield MeteredServer(started.result(60), meter)
    loop, stop = ended[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def health(server: MeteredServer) -> Iterator[list[int]]:
    """/health is polled from another thread; the statuses of its answers."""
    statuses: list[int] = []
    enough = threading.Event()

    def poll() -> None:
        with httpx.Client() as client:
            while not enough.is_set():
                statuses.append(client.get(f"http://127.0.0.1:{server.port}/health", timeout=60).status_code)
                enough.wait(0.02)

    thread = threading.Thread(target=poll)
    thread.start()
    yield statuses
    enough.set()
    thread.join()


def send(port: int, data: bytes) -> int:
    """Send everything; the status of the answer. 0: the server cut the connection before it could be read."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock, sock.makefile("rb") as reader:
        with suppress(ConnectionError):  # refused before it was sent
            sock.sendall(data)
        try:
            return int(reader.readline().split()[1])
        except (ConnectionError, IndexError):
            return 0


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_costly_body_takes_bounded_cpu(body: Body, server: MeteredServer, health: list[int]) -> None:
    data = on_the_wire(body)
    server.meter.reset()
    status = send(server.port, data)
    spent_s, max_step_s = server.meter.spent_s, server.meter.max_step_s

    assert status in {0, 200, 400, 413, 415}
    assert spent_s <= MAX_CPU_PER_MIB_S * max(1.0, len(data) / MIB), f"{spent_s:.2f} s of CPU for {len(data)} bytes"
    assert max_step_s < MAX_STEP_S, f"one step of the event loop took {max_step_s:.3f} s of CPU"
    assert set(health) <= {200}
