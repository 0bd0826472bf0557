"""Answers of the engine's process on their way to the calls that wait for them, a few per iteration of the event loop.

Texts end together: windows that were encoded as one batch and are equally long are read back in one step. asyncio runs everything
that is ready before it polls its sockets again, so 16 answers at once would keep a probe waiting while 16 responses are made,
1 to 2 ms each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from whisper_server.engines.torch.wire import Answer

ANSWERS_PER_ITERATION = 1
"""Of an iteration, which takes uploads two steps further (`STEPS_PER_ITERATION` of `http.app`). With two, `/health` had a p99 of 12 to
13 ms under 256 and 512 clients on an H200."""


class PendingAnswers:
    """Futures by the id of their task. Used on the event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._arrived: deque[Answer] = deque()
        self._is_under_way = False
        """An iteration is due for the next answer, or to see that there is none."""

    def expect(self, task_id: int) -> asyncio.Future[Answer]:
        """The future of a task; `forget` it when the call has ended."""
        future = self._waiting[task_id] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, task_id: int) -> None:
        """Its answer, if one comes, is dropped."""
        self._waiting.pop(task_id, None)

    def deliver(self, answers: Iterable[Answer]) -> None:
        """Hand over the first ones now, unless others came in this iteration; the rest in the next ones."""
        self._arrived += answers
        if not self._is_under_way:
            self._hand_over()

    def fail_all(self, error: Exception) -> None:
        """Raise `error` in every call whose answer has not arrived."""
        arrived = {answer.task_id for answer in self._arrived}
        for task_id, future in self._waiting.items():
            if task_id not in arrived and not future.done():
                future.set_exception(error)

    def _hand_over(self) -> None:
        n_handed = 0
        while self._arrived and n_handed < ANSWERS_PER_ITERATION:
            answer = self._arrived.popleft()
            future = self._waiting.get(answer.task_id)
            if future is not None and not future.done():
                future.set_result(answer)
                n_handed += 1
        # Also after the last one: each step's answers are a message of their own, and several come while the loop is busy.
        self._is_under_way = n_handed > 0
        if self._is_under_way:
            asyncio.get_running_loop().call_soon(self._hand_over)
