"""Which waiting work goes together, what goes first, and that nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from whisper_server.engines.ctranslate2.batches import BatchQueue, Work


def work(kind: str, name: Any = None, *, max_batch: int = 4) -> Work:
    is_encoding = kind == "encode"
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Work((kind,), name, 1 if is_encoding else max_batch, is_encoding, future)


def queue_of(*works: Work) -> BatchQueue:
    queue = BatchQueue()
    for one in works:
        queue.add(one)
    return queue


def drain(queue: BatchQueue) -> list[str]:
    """Kinds of the batches in the order they are handed out, with the number of works in each."""
    batches = []
    while batch := queue.take():
        batches.append(f"{batch[0].kind[0]}×{len(batch)}")
    return batches


async def test_nothing_waits() -> None:
    assert queue_of().take() == ()


async def test_one_batch_holds_one_kind_in_order_of_arrival() -> None:
    queue = queue_of(work("a", 1), work("b", 2), work("a", 3), work("b", 4))
    assert [one.payload for one in queue.take()] == [1, 3]
    assert [one.payload for one in queue.take()] == [2, 4]
    assert len(queue) == 0


async def test_a_batch_is_no_larger_than_its_kind_allows() -> None:
    assert drain(queue_of(*(work("a", max_batch=2) for _ in range(5)))) == ["a×2", "a×2", "a×1"]


async def test_encoding_goes_first_until_a_batch_is_full() -> None:
    queue = queue_of(work("a"), work("encode"), work("encode"))
    assert queue.take()[0].is_encoding
    for _ in range(3):
        queue.add(work("a"))
    assert drain(queue) == ["a×4", "encode×1"]


async def test_cancelled_work_is_dropped() -> None:
    works = [work("a", n) for n in range(4)]
    queue = queue_of(*works, work("encode"))
    works[1].result.cancel()
    works[3].result.cancel()
    assert drain(queue) == ["encode×1", "a×2"]


@pytest.mark.parametrize("has_encodings", [False, True])
async def test_a_work_alone_in_its_kind_is_passed_over_twice_at_most(has_encodings: bool) -> None:
    """Full batches of others keep coming, as under load."""
    queue = queue_of(work("lonely"))
    taken: list[str] = []
    for _ in range(12):
        for _ in range(8):
            queue.add(work("popular"))
        if has_encodings:
            queue.add(work("encode"))
        taken.append(str(queue.take()[0].kind[0]))
    assert taken.index("lonely") <= 2


async def test_the_next_one_is_passed_over_anew() -> None:
    queue = queue_of(*(work(f"lonely{n}") for n in range(3)))
    taken: Counter[str] = Counter()
    for _ in range(9):
        for _ in range(8):
            queue.add(work("popular"))
        taken[str(queue.take()[0].kind[0])] += 1
    assert taken == {"popular": 6, "lonely0": 1, "lonely1": 1, "lonely2": 1}


async def test_failing_all_leaves_nothing_but_what_was_done() -> None:
    done, cancelled, waiting, encoding = work("a"), work("a"), work("a"), work("encode")
    done.result.set_result("done")
    cancelled.result.cancel()
    queue = queue_of(done, cancelled, waiting, encoding)
    queue.fail_all(lambda: RuntimeError("over"))
    assert len(queue) == 0
    assert done.result.result() == "done"
    for one in (waiting, encoding):
        with pytest.raises(RuntimeError, match="over"):
            await one.result
