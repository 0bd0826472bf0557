"""Batches of alignments: every caller gets its result or error, whichever other callers are cancelled or calls fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from whisper_server.engines.vllm.align_batcher import MAX_BATCH, AlignBatcher

LIMIT_S = 5.0


@dataclass
class Slow:
    """Returns a batch's results once `may_answer` is set."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[list[int]] = field(default_factory=list)

    async def call(self, requests: list[int]) -> list[int]:
        self.batches.append(requests)
        await self.may_answer.wait()
        return [10 * request for request in requests]


async def started(batcher: AlignBatcher[int, int], n_requests: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batcher.align(number)) for number in range(n_requests)]
    await asyncio.sleep(0.01)
    return tasks


async def test_tasks_that_arrive_during_a_call_share_the_next() -> None:
    slow = Slow()
    tasks = await started(AlignBatcher(slow.call), 2 + MAX_BATCH)
    slow.may_answer.set()
    answers = await asyncio.wait_for(asyncio.gather(*tasks), LIMIT_S)
    assert answers == [10 * number for number in range(2 + MAX_BATCH)]
    assert [len(batch) for batch in slow.batches] == [1, MAX_BATCH, 1]


async def test_cancelled_task_leaves_the_results_of_its_batch() -> None:
    slow = Slow()
    batcher = AlignBatcher(slow.call)
    tasks = await started(batcher, 3)
    slow.may_answer.set()
    await tasks[0]
    slow.may_answer.clear()
    await asyncio.sleep(0.01)
    assert slow.batches == [[0], [1, 2]]
    tasks[1].cancel()
    late = asyncio.create_task(batcher.align(3))
    await asyncio.sleep(0.01)
    slow.may_answer.set()
    assert await asyncio.wait_for(tasks[2], LIMIT_S) == 20
    assert await asyncio.wait_for(late, LIMIT_S) == 30


async def test_cancelled_tasks_take_no_place_in_a_batch() -> None:
    slow = Slow()
    tasks = await started(AlignBatcher(slow.call), 2 + 2 * MAX_BATCH)
    for task in tasks[1:-1]:
        task.cancel()
    await asyncio.sleep(0.01)
    slow.may_answer.set()
    assert await asyncio.wait_for(tasks[0], LIMIT_S) == 0
    assert await asyncio.wait_for(tasks[-1], LIMIT_S) == 10 * (1 + 2 * MAX_BATCH)
    assert [len(batch) for batch in slow.batches] == [1, 1]


async def test_failed_call_raises_in_its_own_batch_only() -> None:
    slow = Slow()

    async def call(requests: list[int]) -> list[int]:
        if 1 in requests:
            raise ValueError("no")
        return await slow.call(requests)

    tasks = await started(AlignBatcher(call), 3)
    slow.may_answer.set()
    assert await asyncio.wait_for(tasks[0], LIMIT_S) == 0
    for task in tasks[1:]:
        with pytest.raises(ValueError, match="no"):
            await asyncio.wait_for(task, LIMIT_S)
