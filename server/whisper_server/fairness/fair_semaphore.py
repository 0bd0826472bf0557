"""A semaphore that is fair to owners, then to requests: free slots go to those that wait in the order of `FairQueue`.

A request with hundreds of windows and a request with a single window get slots alternately, so that a short
recording does not wait for the whole of a long one. This module does not depend on windows or engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from whisper_server.fairness.fair_queue import FairQueue

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_WEIGHT = 0.1
"""Of one more turn in the mean cost of turns."""


class FairSemaphore:
    """`n_slots` slots. Waiters get them in turns by owner, then by request; first come, first served within a request."""

    def __init__(self, n_slots: int, clock: Callable[[], float] | None = None) -> None:
        """With a clock, a turn costs the seconds for which the slot was held; without, all turns cost the same."""
        self._n_slots = n_slots
        self._clock = clock
        self._cost = 1.0
        """Of a turn that has not ended: the mean of those that have."""
        self._n_free = n_slots
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._urgent: FairQueue[asyncio.Future[None]] = FairQueue()
        self._max_urgent = max(1, n_slots // 2)
        """Slots that go to urgent waiters first."""
        self._n_urgent = 0
        """Slots that urgent holders have."""

    @property
    def n_waiting(self) -> int:
        """Number of waiters."""
        return len(self._waiting) + len(self._urgent)

    @property
    def n_held(self) -> int:
        """Number of slots in use."""
        return self._n_slots - self._n_free

    @asynccontextmanager
    async def slot(self, owner: Hashable, request: Hashable = None, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Hold a slot. Cancelling a waiter removes it from the queue and changes nothing else.

        Urgent waiters come first as long as they hold no more than half of the slots.
        """
        await self._acquire(owner, request, is_urgent=is_urgent)
        begin_s, assumed = self._now_s(), self._cost
        try:
            yield
        finally:
            if self._clock is not None:
                held_s = self._now_s() - begin_s
                self._cost += _WEIGHT * (held_s - self._cost)
                self._queue(is_urgent=is_urgent).charge(owner, held_s - assumed)
            self._release(is_urgent=is_urgent)

    def _now_s(self) -> float:
        return 0.0 if self._clock is None else self._clock()

    def _queue(self, *, is_urgent: bool) -> FairQueue[asyncio.Future[None]]:
        return self._urgent if is_urgent else self._waiting

    async def _acquire(self, owner: Hashable, request: Hashable, *, is_urgent: bool) -> None:
        if self._n_free:
            self._n_free -= 1
            self._n_urgent += is_urgent
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queue(is_urgent=is_urgent)
        queue.add(owner, request, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                queue.remove(owner, request, future)
            else:  # the slot was assigned before the cancellation arrived
                self._release(is_urgent=is_urgent)
            raise

    def _release(self, *, is_urgent: bool) -> None:
        self._n_urgent -= is_urgent
        for urgent in (True, False) if self._n_urgent < self._max_urgent else (False, True):
            while (future := self._queue(is_urgent=urgent).pop(self._cost)) is not None:
                if not future.done():
                    self._n_urgent += urgent
                    future.set_result(None)
                    return
        self._n_free += 1


class FairThreads:
    """One request's way to threads: no more than the semaphore's slots compute at a time, in turns."""

    def __init__(self, slots: FairSemaphore, owner: Hashable, request: Hashable) -> None:
        self._slots = slots
        self._owner = owner
        self._request = request

    async def run(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """As `asyncio.to_thread`, once it is this request's turn."""
        async with self._slots.slot(self._owner, self._request):
            return await asyncio.to_thread(function, *args, **kwargs)
