"""What the heaps may keep: few arenas from the start, no free pages while idle, no second look at what was loaded.

glibc keeps what was freed, in every thread's arena, in pieces that seldom fit what comes next: after hundreds of
requests of all sizes a process holds half as much again as it uses (bench/RESULTS.md). Giving it back costs page
faults afterwards, so that is left alone while there is work. On other C libraries nothing is done at all.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

IDLE_S = 2.0
N_ARENAS = 2
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def limit_arenas() -> None:
    """Let all threads share a few arenas. Must come before the threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, N_ARENAS)


def freeze_loaded_objects() -> None:
    """Python's collector looks no more through what is there by now: libraries and the model's vocabulary, which stay.

    With vLLM loaded, it would stop everything for a good part of a second each time.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return the free pages of all heaps; blocks for some milliseconds."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


async def trim_when_idle(
    n_opened: Callable[[], int],
    is_busy: Callable[[], bool],
    *,
    idle_s: float = IDLE_S,
    give_back: Callable[[], None] = give_back,
) -> None:
    """For ever: once for every stretch of work (`n_opened` jobs so far), when it is over for `idle_s` or longer."""
    n_given_back_after = n_seen = n_opened()
    while True:
        await asyncio.sleep(idle_s)
        n_before, n_seen = n_seen, n_opened()
        if n_seen == n_before and n_seen != n_given_back_after and not is_busy():
            await asyncio.to_thread(give_back)
            n_given_back_after = n_seen
