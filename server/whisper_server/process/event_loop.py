"""Tasks of the event loop: in the background of a block, or of which the first to end decides; and the loop's lag."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(background: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a task in the background; leaving the block cancels it."""
    task = asyncio.create_task(background)
    try:
        yield
    finally:
        await cancel(task)


async def first_to_end(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run all of them until one ends, then cancel the others. Errors are ignored."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(*tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class LagMeter:
    """Measures by how much the event loop is late: the time for which it answers no probe."""

    def __init__(self, *, period_s: float = 0.5, window_s: float = 60.0) -> None:
        """A lag is reported for `window_s`, so that a scrape afterwards finds it."""
        self._period_s = period_s
        self._lags_s: deque[float] = deque(maxlen=round(window_s / period_s))

    def max_s(self) -> float:
        """The longest lag of the last minute, in seconds."""
        return max(self._lags_s, default=0.0)

    async def run(self) -> None:
        """Loop: measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + self._period_s
            await asyncio.sleep(self._period_s)
            self._lags_s.append(max(0.0, loop.time() - due_s))
