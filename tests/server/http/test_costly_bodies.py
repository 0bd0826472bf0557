"""Bodies that are cheap to send and dear to read: bounded work per byte, and no long step of the event loop."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from http_kit.costly_bodies import BODIES, MIB, Body, on_the_wire
from http_kit.running import running

MAX_CPU_PER_MIB_S = 1.0
MAX_STEP_S = 0.1
"""CPU time of one iteration of the event loop, during which nothing else is answered."""
YARDSTICK_S = 0.07
"""CPU time of `yardstick` on 2 idle cores of a Xeon. Beside other work, which shares caches and cores' halves, it is 1.5 times as much."""


def yardstick() -> float:
    """How many times dearer computing is at present than on an idle machine, at least 1."""
    start_s = time.thread_time()
    for _ in range(200):
        (b"1\r\nx\r\n" * 10_000).split(b"\r\n")
    return max(1.0, (time.thread_time() - start_s) / YARDSTICK_S)


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
    before = yardstick()
    server.meter.reset()
    status = send(server.port, data)
    spent_s, max_step_s = server.meter.spent_s, server.meter.max_step_s

    dearer = max(before, yardstick())

    assert status in {0, 200, 400, 413, 415}
    limit_s = MAX_CPU_PER_MIB_S * max(1.0, len(data) / MIB) * dearer
    assert spent_s <= limit_s, (
        f"{spent_s:.2f} s of CPU for {len(data)} bytes, where computing is {dearer:.1f} times dearer"
    )
    assert max_step_s < MAX_STEP_S * dearer, f"one step of the event loop took {max_step_s:.3f} s of CPU"
    assert set(health) <= {200}
