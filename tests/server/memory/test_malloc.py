"""The heap is trimmed once after each growth, and never while there is work."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from whisper_server.memory.malloc import freeze_loaded_objects, trim, trim_when_idle

MIB = 1 << 20


@dataclass
class Work:
    """A process of `n_bytes`, of which a trim leaves `n_live_bytes`."""

    n_bytes: int = 100 * MIB
    n_live_bytes: int = 100 * MIB
    is_busy: bool = False
    n_trims: int = 0

    def grow(self, n_bytes: int, *, n_live_bytes: int = 0) -> None:
        self.n_bytes += n_bytes
        self.n_live_bytes += n_live_bytes

    def trim(self) -> None:
        self.n_trims += 1
        self.n_bytes = self.n_live_bytes


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    work = Work()
    task = asyncio.create_task(
        trim_when_idle(lambda: work.is_busy, idle_s=0.01, resident_bytes=lambda: work.n_bytes, trim=work.trim)
    )
    await asyncio.sleep(0)
    yield work
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_process_that_did_not_grow_is_never_trimmed(work: Work) -> None:
    work.grow(15 * MIB)
    await asyncio.sleep(0.1)
    assert work.n_trims == 0


async def test_busy_server_never_trims(work: Work) -> None:
    work.is_busy = True
    work.grow(500 * MIB)
    await asyncio.sleep(0.1)
    assert work.n_trims == 0


async def test_heap_is_trimmed_once_per_growth(work: Work) -> None:
    for n_periods in (1, 2, 3):
        work.grow(100 * MIB, n_live_bytes=20 * MIB)
        await eventually(lambda n=n_periods: work.n_trims == n)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert work.n_trims == n_periods


def test_trim_returns_free_pages_to_the_system() -> None:
    process = psutil.Process()
    blocks = [np.ones(8_000, np.float32) for _ in range(4_000)]  # 128 MB in pieces below the mmap threshold
    kept = blocks[::100]
    before = process.memory_info().rss
    del blocks
    trim()
    assert process.memory_info().rss < before - 64_000_000
    assert all(block[0] == 1 for block in kept)


def test_loaded_objects_are_frozen_for_the_collector() -> None:
    try:
        freeze_loaded_objects()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


_FAULTS = """
import ctypes, resource, sys, threading
from whisper_server.memory.malloc import keep_large_blocks

MIB = 1 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)
if sys.argv[1] == "keep":
    keep_large_blocks()

def n_faults(n_blocks: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_blocks):
        block = libc.malloc(72 * MIB)  # as the attention of Whisper base's encoder
        libc.memset(block, 1, 72 * MIB)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def in_a_thread() -> None:
    n_faults(1)
    print(n_faults(5))

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
"""


def test_large_blocks_of_a_thread_are_used_again_without_page_faults() -> None:
    n_faults = {}
    for how in ("as it comes", "keep"):
        done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
        n_faults[how] = int(done.stdout)
    assert n_faults["keep"] * 20 < n_faults["as it comes"]
