"""Loading that can be called off: vLLM starts processes from a thread, and neither listens to anybody.

What is loaded belongs to `engine`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from whisper_server.children import children, kill

Loaded = TypeVar("Loaded")

GIVE_UP_S = 5.0
PAUSE_S = 0.05


async def load_in_thread(load: Callable[[], Loaded]) -> Loaded:
    """`load()`. Where this is cancelled, the processes that it started die, upon which it cleans up and fails."""
    before = children()
    loading = asyncio.ensure_future(asyncio.to_thread(load))
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        give_up_s = time.monotonic() + GIVE_UP_S
        while not loading.done() and time.monotonic() < give_up_s:
            kill(children() - before)
            await asyncio.wait({loading}, timeout=PAUSE_S)
        if loading.done():
            loading.exception()  # nobody asks for it any more
        raise
