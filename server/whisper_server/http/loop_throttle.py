"""So many steps of one kind in a round of the event loop; whoever comes later goes on in one of the next rounds.

asyncio runs all that is ready before it looks at its sockets again. Where hundreds of uploads are ready at once, a
probe waits for all of them; step by step, it waits for a few. What a step is, is the caller's affair.
"""

from __future__ import annotations

import asyncio
from collections import deque


class LoopThrottle:
    """In order of arrival, and without delay where fewer than `n_steps` come in a round."""

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._n_taken = 0
        self._n_woken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._round: asyncio.Handle | None = None

    async def acquire(self) -> None:
        """Come back when this round may have one step more. Cancelling gives up the wait and nothing else."""
        self._begin_round()
        if self._n_taken < self._n_steps and not self._waiting:
            self._n_taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _begin_round(self) -> None:
        if self._round is None:
            self._round = asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        self._round = None
        self._n_taken, self._n_woken = self._n_woken, 0  # whoever was woken in the last round runs in this one
        if self._n_taken or self._waiting:
            self._begin_round()
        while self._waiting and self._n_woken < self._n_steps:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._n_woken += 1
