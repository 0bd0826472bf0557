"""The heap is given back when work is over, once, and never while there is any."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from whisper_server.malloc import freeze_loaded_objects, give_back, trim_when_idle


@dataclass
class Work:
    n_opened: int = 0
    is_busy: bool = False
    n_given_back: int = 0

    def give_back(self) -> None:
        self.n_given_back += 1


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    work = Work()
    task = asyncio.create_task(
        trim_when_idle(lambda: work.n_opened, lambda: work.is_busy, idle_s=0.01, give_back=work.give_back)
    )
    yield work
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_nothing_happens_where_nothing_was_done(work: Work) -> None:
    await asyncio.sleep(0.1)
    assert work.n_given_back == 0


async def test_not_while_there_is_work(work: Work) -> None:
    work.n_opened, work.is_busy = 1, True
    await asyncio.sleep(0.1)
    assert work.n_given_back == 0


async def test_once_for_every_stretch_of_work(work: Work) -> None:
    for n_stretches in (1, 2, 3):
        work.n_opened += 5
        await eventually(lambda n=n_stretches: work.n_given_back == n)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert work.n_given_back == n_stretches


def test_memory_really_goes_back() -> None:
    process = psutil.Process()
    blocks = [np.ones(8_000, np.float32) for _ in range(4_000)]  # 128 MB in pieces below the mmap threshold
    kept = blocks[::100]
    before = process.memory_info().rss
    del blocks
    give_back()
    assert process.memory_info().rss < before - 64_000_000
    assert all(block[0] == 1 for block in kept)


def test_what_is_loaded_is_not_looked_through_again() -> None:
    try:
        freeze_loaded_objects()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
