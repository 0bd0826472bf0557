"""A semaphore that is fair to owners, then to requests: free slots go to those that wait in the order of `FairQueue`.

A request with hundreds of windows and a request with a single window get slots alternately, so that a short
recording does not wait for the whole of a long one. The last slots may be for owners that hold none: a client with a
clip does not wait until a batch of another's windows ends. This module does not depend on windows or engines.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from whisper_server.fairness.fair_queue import FairQueue

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
URGENT_BESIDE_OTHERS = 0.75
"""Of the slots that urgent holders may have. 200 live sessions on an H200 leave files 0.54 of their speed with 48 slots, 0.49 with 64;
without files 48 are too few: words of a p95 of 1.5 s instead of 1.1."""
_WEIGHT = 0.1
"""Of one more turn in the mean cost of turns."""


@dataclass(eq=False)
class _Waiter:
    owner: Hashable
    slot: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FairSemaphore:
    """`n_slots` slots. Waiters get them in turns by owner, then by request; first come, first served within a request."""

    def __init__(
        self,
        n_slots: int,
        clock: Callable[[], float] | None = None,
        *,
        n_for_newcomers: int = 0,
        max_urgent: int | None = None,
    ) -> None:
        """With a clock, a turn costs the seconds for which the slot was held; without, all turns cost the same.

        The last `n_for_newcomers` slots are for owners that hold none, and for urgent waiters. Urgent holders have at most
        `max_urgent` slots, fewer while others hold some; None: there is no limit.
        """
        self._n_slots = n_slots
        self._n_for_newcomers = n_for_newcomers
        self._held: Counter[Hashable] = Counter()
        """Slots by owner."""
        self._clock = clock
        self._cost = 1.0
        """Of a turn that has not ended: the mean of those that have."""
        self._n_free = n_slots
        self._waiting: FairQueue[_Waiter] = FairQueue()
        self._urgent: FairQueue[_Waiter] = FairQueue()
        self._max_urgent = max_urgent
        self._n_urgent_first = max(1, n_slots // 2)
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
            self._release(owner, is_urgent=is_urgent)

    def _now_s(self) -> float:
        return 0.0 if self._clock is None else self._clock()

    def _queue(self, *, is_urgent: bool) -> FairQueue[_Waiter]:
        return self._urgent if is_urgent else self._waiting

    async def _acquire(self, owner: Hashable, request: Hashable, *, is_urgent: bool) -> None:
        if self._n_free and self._may_have(owner, is_urgent=is_urgent):
            self._take(owner, is_urgent=is_urgent)
            return
        waiter = _Waiter(owner)
        queue = self._queue(is_urgent=is_urgent)
        queue.add(owner, request, waiter)
        try:
            await waiter.slot
        except asyncio.CancelledError:
            if waiter.slot.cancelled():
                queue.remove(owner, request, waiter)
            else:  # the slot was assigned before the cancellation arrived
                self._release(owner, is_urgent=is_urgent)
            raise

    def _may_have(self, owner: Hashable, *, is_urgent: bool) -> bool:
        if is_urgent:
            return self._n_urgent < self._urgent_limit()
        return self._n_free > self._n_for_newcomers or owner not in self._held

    def _urgent_limit(self) -> int:
        if self._max_urgent is None:
            return self._n_slots
        is_alone = self.n_held == self._n_urgent
        return self._max_urgent if is_alone else max(1, round(self._max_urgent * URGENT_BESIDE_OTHERS))

    def _take(self, owner: Hashable, *, is_urgent: bool) -> None:
        self._n_free -= 1
        self._n_urgent += is_urgent
        self._held[owner] += 1

    def _release(self, owner: Hashable, *, is_urgent: bool) -> None:
        self._n_free += 1
        self._n_urgent -= is_urgent
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while self._n_free and self._give():
            pass

    def _give(self) -> bool:
        """Give a free slot to the next waiter; False: none may have it."""
        for urgent in (True, False) if self._n_urgent < self._n_urgent_first else (False, True):
            while (waiter := self._pop(is_urgent=urgent)) is not None:
                if not waiter.slot.done():
                    self._take(waiter.owner, is_urgent=urgent)
                    waiter.slot.set_result(None)
                    return True
        return False

    def _pop(self, *, is_urgent: bool) -> _Waiter | None:
        return self._queue(is_urgent=is_urgent).pop(
            self._cost, may_have=lambda owner: self._may_have(owner, is_urgent=is_urgent)
        )


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
