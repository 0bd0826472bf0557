"""A coroutine that runs beside others for as long as a block does. What it does is its caller's affair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(background: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """A task in the background, cancelled on leaving."""
    task = asyncio.create_task(background)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
