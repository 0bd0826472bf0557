"""glibc's heap: one arena that keeps large blocks, free pages returned while idle; loaded objects hidden from the collector.

glibc keeps freed memory in every thread's arena, in pieces that seldom fit the next request: after hundreds of
requests of all sizes a process holds half as much again as it uses (bench/RESULTS.md). Returning it costs page faults
afterwards, so it happens only while the server is idle. With other C libraries these functions do nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

import psutil

IDLE_S = 2.0
MIN_GROWTH_BYTES = 16 << 20
"""Less is not worth a trim, which blocks for some milliseconds."""
KEPT_BLOCK_BYTES = 256 << 20
"""The encoder's attention takes a block per layer: 72 MB for Whisper base (8 heads × 1500 × 1500 × 4), 180 MB for large. By default
glibc maps and unmaps each, and the kernel fills all of its pages with zeros: two windows of Whisper base at a time took 1.39 CPU s
each, 0.43 of them in the kernel; kept, 0.95 and 0.01 (2026-11-29, AMD EPYC, int8). The peak of memory is the same, 412 MiB for 410."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def keep_large_blocks() -> None:
    """Let freed blocks be used again instead of unmapped. Call this before threads start.

    All threads share one arena, the main one: no other can hold a block of more than 64 MiB. Engines with a GPU compute in
    processes of their own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BLOCK_BYTES)


def freeze_loaded_objects() -> None:
    """Exclude everything that exists now from Python's collector: libraries and the model's vocabulary, which stay.

    With vLLM loaded, each full collection would stop the process for a good part of a second.
    """
    gc.collect()
    gc.freeze()


def trim() -> None:
    """Return the free pages of all heaps to the system; blocks for some milliseconds."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(psutil.Process().memory_info().rss)


async def trim_when_idle(
    is_busy: Callable[[], bool],
    *,
    idle_s: float = IDLE_S,
    resident_bytes: Callable[[], int] = resident_bytes,
    trim: Callable[[], None] = trim,
) -> None:
    """Loop: every `idle_s`, trim if the server is idle and the process has grown since it was smallest after a trim.

    Growth decides, not transcriptions: unread answers and refused uploads fill the heap as well.
    """
    smallest = resident_bytes()
    while True:
        await asyncio.sleep(idle_s)
        n_bytes = resident_bytes()
        smallest = min(smallest, n_bytes)
        if n_bytes - smallest >= MIN_GROWTH_BYTES and not is_busy():
            await asyncio.to_thread(trim)
            smallest = resident_bytes()
