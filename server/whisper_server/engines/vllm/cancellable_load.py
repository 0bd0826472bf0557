"""Makes the loading of vLLM cancellable.

vLLM starts processes from the thread that loads it, and neither thread nor processes react to a cancelled task. When
the processes die, vLLM cleans up and the thread ends with an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from whisper_server.process.children import children, kill

Loaded = TypeVar("Loaded")

CANCEL_LIMIT_S = 5.0
"""Longest wait for the thread after a cancellation."""
KILL_PERIOD_S = 0.05
"""vLLM may start another process while the first ones are killed."""


async def load_in_thread(load: Callable[[], Loaded]) -> Loaded:
    """The result of `load()`, which runs in a thread. On cancellation, kills the processes that it has started."""
    before = children()
    loading = asyncio.ensure_future(asyncio.to_thread(load))
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        deadline_s = time.monotonic() + CANCEL_LIMIT_S
        while not loading.done() and time.monotonic() < deadline_s:
            kill(children() - before)
            await asyncio.wait({loading}, timeout=KILL_PERIOD_S)
        if loading.done():
            loading.exception()  # marks it as retrieved: asyncio logs an error that is never retrieved
        raise
