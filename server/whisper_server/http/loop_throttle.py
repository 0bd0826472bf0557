"""Limits how many steps of one kind run per event-loop iteration, so that probes are answered in between.

asyncio runs everything that is ready before it polls its sockets again. If hundreds of uploads are ready at once, a
probe would wait for all of them; with a throttle it waits for a few steps.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sys
from collections import deque

ARRIVAL_EVERY = 4
"""Each fourth step is the one that has waited longest, so that a large upload goes on beside any number of small ones."""


class LoopThrottle:
    """At most `n_steps` per iteration; without delay if up to half as many arrive.

    Those with least left to do go first (shortest remaining processing time). In turns, 256 uploads that begin together
    would all end at the end, and a GPU would wait for the first of them as long as for the last.
    """

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._n_taken = 0
        self._n_woken = 0
        self._n_given = 0
        self._order = itertools.count()
        self._by_left: list[tuple[int, int, asyncio.Future[None]]] = []
        self._by_arrival: deque[asyncio.Future[None]] = deque()
        """The same as in `_by_left`. What has been woken or cancelled leaves each of them when it comes first."""
        self._iteration: asyncio.Handle | None = None

    async def acquire(self, n_left: int = sys.maxsize) -> None:
        """Return when an iteration has room for one more step, of something that has `n_left` to do. Cancelling gives up
        only this wait.
        """
        if self._n_taken < self._n_steps and not self._is_awaited():
            self._n_taken += 1
            # Not before: each of many frames that come one by one would cost an iteration.
            if 2 * self._n_taken >= self._n_steps:
                self._schedule_iteration()
            return
        self._schedule_iteration()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._by_left, (n_left, next(self._order), turn))
        self._by_arrival.append(turn)
        await turn

    def _schedule_iteration(self) -> None:
        if self._iteration is None:
            self._iteration = asyncio.get_running_loop().call_soon(self._next_iteration)

    def _next_iteration(self) -> None:
        self._iteration = None
        self._n_taken, self._n_woken = self._n_woken, 0  # a step that was woken in the last iteration runs in this one
        if self._n_taken or self._is_awaited():
            self._schedule_iteration()
        while self._n_woken < self._n_steps and self._is_awaited():
            self._n_given += 1
            turn = self._by_left[0][2] if self._n_given % ARRIVAL_EVERY else self._by_arrival[0]
            turn.set_result(None)
            self._n_woken += 1

    def _is_awaited(self) -> bool:
        while self._by_left and self._by_left[0][2].done():
            heapq.heappop(self._by_left)
        while self._by_arrival and self._by_arrival[0].done():
            self._by_arrival.popleft()
        return bool(self._by_left)
