"""Computes the queue's batches, so many at a time, and charges the clients for what they took.

Knows no model: what computes a batch is an argument. All calls come from the event loop, whose clock measures.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from whisper_server.engines.ctranslate2.batch_queue import BatchQueue, QueuedItem
from whisper_server.errors import InternalError, Unavailable
from whisper_server.whisper.engine_protocol import Decoded

logger = logging.getLogger(__name__)

Compute = Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]]
"""The name of a computation and the payloads of a batch to the results, in the same order."""


class BatchRunner:
    """`n_workers` batches at a time."""

    def __init__(self, compute: Compute, n_workers: int) -> None:
        self._compute = compute
        self._n_workers = n_workers
        self._queue = BatchQueue()
        self._running: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    @property
    def n_queued(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._queue)

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    async def stop(self) -> None:
        """Fail queued items, let running batches end."""
        self._is_stopped = True
        self._queue.fail_all(lambda: Unavailable("The server is shutting down."))
        if self._running:
            await asyncio.wait(self._running)

    async def submit(
        self,
        kind: tuple[Any, ...],
        payload: Any,
        *,
        max_batch: int,
        is_encoding: bool = False,
        owner: str = "",
        is_live: bool = False,
    ) -> Any:
        """The result of computing `payload`, in a batch with others of its `kind`; cancelling the call removes it.

        Raises Unavailable after `stop`, and InternalError where the computation fails.
        """
        if self._is_stopped:
            raise Unavailable("The server is shutting down.")
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.add(QueuedItem(kind, payload, max_batch, is_encoding, is_live, result, owner))
        # Not at once: items submitted in the same iteration of the loop may share a batch.
        asyncio.get_running_loop().call_soon(self._start_batches)
        return await result

    def _start_batches(self) -> None:
        while len(self._running) < self._n_workers and (batch := self._queue.next_batch()):
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_batches()

    async def _run(self, batch: Sequence[QueuedItem]) -> None:
        loop = asyncio.get_running_loop()
        computation, begin_s = str(batch[0].kind[0]), loop.time()
        try:
            results = await self._compute(computation, [item.payload for item in batch])
        except Exception:
            logger.exception("CTranslate2 failed to %s %d windows", computation, len(batch))
            self._queue.charge(batch, loop.time() - begin_s)
            message = "The engine failed on this recording. Try again; if it happens again, report it."
            _settle(batch, lambda item: item.result.set_exception(InternalError(message)))
        else:
            self._queue.charge(batch, loop.time() - begin_s, [_n_steps(result) for result in results])
            answers = dict(zip(batch, results, strict=True))
            _settle(batch, lambda item: item.result.set_result(answers[item]))


def _n_steps(result: object) -> int:
    """Decoding steps that a window took part in: one for each token, and one for the end."""
    return len(result.tokens) + 1 if isinstance(result, Decoded) else 1


def _settle(batch: Sequence[QueuedItem], settle: Callable[[QueuedItem], None]) -> None:
    for item in batch:
        if not item.result.done():
            settle(item)
