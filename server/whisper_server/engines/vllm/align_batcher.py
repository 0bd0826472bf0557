"""Batches alignment tasks: those that arrive during one call to vLLM's process go together into the next call.

`worker.alignment` computes them, `window` uses the results. Imports neither torch nor vllm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_BATCH = 8


class AlignBatcher(Generic[Task, Result]):
    """Runs one call at a time; each call computes up to MAX_BATCH of the waiting tasks."""

    def __init__(self, call: Callable[[list[Task]], Awaitable[Sequence[Result]]]) -> None:
        """`call` returns a result for each task, in their order."""
        self._call = call
        self._call_lock = asyncio.Lock()
        self._waiting: list[tuple[Task, asyncio.Future[Result]]] = []

    async def align(self, task: Task) -> Result:
        """The result of one task. Raises what `call` raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, future))
        try:
            async with self._call_lock:
                if not future.done():
                    await self._run_batch()
            return await future
        finally:
            future.cancel()  # a cancelled task takes no place in a batch

    async def _run_batch(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].cancelled()]
        batch, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
        if batch:
            # Shielded: when this caller is cancelled, the others still wait for their results.
            await asyncio.shield(self._settle(batch))

    async def _settle(self, batch: Sequence[tuple[Task, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._call([task for task, _ in batch])
        except Exception as error:  # noqa: BLE001 - every caller of the batch raises it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
