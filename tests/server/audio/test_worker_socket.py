"""The server's end of a worker's connection: one datagram for each wait, the end of the worker, and what ends a wait."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator

import pytest

from whisper_server.audio.worker_socket import WorkerSocket


@pytest.fixture
def ends() -> Iterator[tuple[WorkerSocket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield WorkerSocket(ours, 100), theirs
    ours.close()
    theirs.close()


def never() -> float:
    return 3600.0


async def test_each_wait_gets_one_datagram(ends: tuple[WorkerSocket, socket.socket]) -> None:
    ours, theirs = ends
    waiting = asyncio.create_task(ours.receive(never))
    await asyncio.sleep(0)
    assert ours.is_waited_for
    for word in (b"first", b"second", b"third"):
        theirs.send(word)
    assert await waiting == b"first"
    assert not ours.is_waited_for
    await asyncio.sleep(0.01)  # the others come while nothing waits
    assert [await ours.receive(never) for _ in range(2)] == [b"second", b"third"]
    ours.send(b"answer")
    assert theirs.recv(100) == b"answer"
    ours.close()


async def test_the_end_of_the_worker_is_an_empty_datagram(ends: tuple[WorkerSocket, socket.socket]) -> None:
    ours, theirs = ends
    waiting = asyncio.create_task(ours.receive(never))
    await asyncio.sleep(0)
    theirs.close()
    assert await waiting == b""
    assert await ours.receive(never) == b""
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send(b"answer")
    ours.close()


async def test_a_check_may_end_the_wait_and_the_next_one_goes_on(ends: tuple[WorkerSocket, socket.socket]) -> None:
    ours, theirs = ends
    waits_s = iter((0.001, 0.001, math.nan))

    def check() -> float:
        wait_s = next(waits_s)
        if math.isnan(wait_s):
            raise ValueError("frozen")
        return wait_s

    with pytest.raises(ValueError, match="frozen"):
        await ours.receive(check)
    theirs.send(b"alive")
    assert await ours.receive(never) == b"alive"
    ours.close()
