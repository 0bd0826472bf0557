"""Alignments of several windows in one call to vLLM's process: of all that have come while the last was under way.

What is computed there is in `alignment`, what becomes of it in `window`. Knows neither torch nor vllm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

MAX_BATCH = 8


class AlignBatcher:
    """Who waits for an alignment, and one call at a time for some of them."""

    def __init__(self, call: Callable[[list[Any]], Awaitable[Sequence[Any]]]) -> None:
        """`call` answers a batch of requests."""
        self._call = call
        self._calling = asyncio.Lock()
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    async def align(self, request: Any) -> Any:
        """The answer to one request. Raises what `call` raises."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        try:
            async with self._calling:
                if not future.done():
                    await self._call_for_some()
            return await future
        finally:
            future.cancel()  # whoever has left does not take a place in a batch

    async def _call_for_some(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].cancelled()]
        batch, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
        if batch:
            # Goes on where this one is cancelled: others wait for their part of it.
            await asyncio.shield(self._settle(batch))

    async def _settle(self, batch: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._call([request for request, _ in batch])
        except Exception as error:  # noqa: BLE001 - each of those that wait raises it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
