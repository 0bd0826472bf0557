"""Tasks of the event loop that run in the background of a block, or of which the first to end decides."""

from __future__ import annotations

import asyncio
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
