"""glibc's heaps: few arenas from the start, free pages returned while idle; loaded objects hidden from the collector.

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
N_ARENAS = 2
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def limit_arenas() -> None:
    """Let all threads share a few arenas. Call this before threads start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, N_ARENAS)


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
