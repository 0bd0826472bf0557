"""Limits how many steps of one kind run per event-loop iteration, so that probes are answered in between.

asyncio runs everything that is ready before it polls its sockets again. If hundreds of uploads are ready at once, a
probe would wait for all of them; with a throttle it waits for a few steps.
"""

from __future__ import annotations

import asyncio
from collections import deque


class LoopThrottle:
    """At most `n_steps` per iteration, in order of arrival; without delay if fewer arrive."""

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._n_taken = 0
        self._n_woken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._iteration: asyncio.Handle | None = None

    async def acquire(self) -> None:
        """Return when an iteration has room for one more step. Cancelling gives up only this wait."""
        self._schedule_iteration()
        if self._n_taken < self._n_steps and not self._waiting:
            self._n_taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _schedule_iteration(self) -> None:
        if self._iteration is None:
            self._iteration = asyncio.get_running_loop().call_soon(self._next_iteration)

    def _next_iteration(self) -> None:
        self._iteration = None
        self._n_taken, self._n_woken = self._n_woken, 0  # a step that was woken in the last iteration runs in this one
        if self._n_taken or self._waiting:
            self._schedule_iteration()
        while self._waiting and self._n_woken < self._n_steps:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._n_woken += 1
