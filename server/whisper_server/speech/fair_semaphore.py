"""A semaphore that is fair to owners: free slots go round-robin over the owners that wait.

A request with hundreds of windows and a request with a single window get slots alternately, so that a short
recording does not wait for the whole of a long one. This module does not depend on windows or engines.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class FairSemaphore:
    """`n_slots` slots. Waiters get them round-robin by owner, and first come, first served within an owner."""

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._n_free = n_slots
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def n_waiting(self) -> int:
        """Number of waiters."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def n_held(self) -> int:
        """Number of slots in use."""
        return self._n_slots - self._n_free

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a slot. Cancelling a waiter removes it from the queue and changes nothing else."""
        await self._acquire(owner)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, owner: Hashable) -> None:
        if self._n_free:
            self._n_free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._forget(owner, future)
            else:  # the slot was assigned before the cancellation arrived
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            owner, queue = self._waiting.popitem(last=False)
            future = queue.popleft()
            if queue:
                self._waiting[owner] = queue  # back to the end of the queue of owners
            if not future.done():
                future.set_result(None)
                return
        self._n_free += 1

    def _forget(self, owner: Hashable, future: asyncio.Future[None]) -> None:
        queue = self._waiting.get(owner)
        if queue is None:
            return
        if future in queue:
            queue.remove(future)
        if not queue:
            del self._waiting[owner]
