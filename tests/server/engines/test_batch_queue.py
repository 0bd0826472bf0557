"""Which queued items share a batch, which batch is first, and that no item waits forever."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from whisper_server.engines.ctranslate2.batch_queue import BatchQueue, QueuedItem


def item(kind: str, name: Any = None, *, max_batch: int = 4, owner: str = "", is_live: bool = False) -> QueuedItem:
    is_encoding = kind == "encode"
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return QueuedItem((kind,), name, 1 if is_encoding else max_batch, is_encoding, is_live, future, owner)


def queue_of(*items: QueuedItem) -> BatchQueue:
    queue = BatchQueue()
    for one in items:
        queue.add(one)
    return queue


def drain(queue: BatchQueue) -> list[str]:
    """Kinds of the batches in their order, with the number of items in each."""
    batches = []
    while batch := queue.next_batch():
        batches.append(f"{batch[0].kind[0]}×{len(batch)}")
    return batches


async def test_empty_queue_gives_an_empty_batch() -> None:
    assert queue_of().next_batch() == ()


async def test_batch_holds_one_kind_in_order_of_arrival() -> None:
    queue = queue_of(item("a", 1), item("b", 2), item("a", 3), item("b", 4))
    assert [one.payload for one in queue.next_batch()] == [1, 3]
    assert [one.payload for one in queue.next_batch()] == [2, 4]
    assert len(queue) == 0


async def test_batch_is_no_larger_than_its_kind_allows() -> None:
    assert drain(queue_of(*(item("a", max_batch=2) for _ in range(5)))) == ["a×2", "a×2", "a×1"]


async def test_encoding_is_first_until_a_batch_is_full() -> None:
    queue = queue_of(item("a"), item("encode"), item("encode"))
    assert queue.next_batch()[0].is_encoding
    for _ in range(3):
        queue.add(item("a"))
    assert drain(queue) == ["a×4", "encode×1"]


async def test_cancelled_items_are_dropped() -> None:
    items = [item("a", n) for n in range(4)]
    queue = queue_of(*items, item("encode"))
    items[1].result.cancel()
    items[3].result.cancel()
    assert drain(queue) == ["encode×1", "a×2"]


@pytest.mark.parametrize("has_encodings", [False, True])
async def test_item_alone_in_its_kind_waits_for_two_batches_at_most(has_encodings: bool) -> None:
    """Full batches of others keep coming, as under load."""
    queue = queue_of(item("lonely"))
    taken: list[str] = []
    for _ in range(12):
        for _ in range(8):
            queue.add(item("popular"))
        if has_encodings:
            queue.add(item("encode"))
        taken.append(str(queue.next_batch()[0].kind[0]))
    assert taken.index("lonely") <= 2


async def test_limit_of_two_batches_holds_for_each_item() -> None:
    queue = queue_of(*(item(f"lonely{n}") for n in range(3)))
    taken: Counter[str] = Counter()
    for _ in range(9):
        for _ in range(8):
            queue.add(item("popular"))
        taken[str(queue.next_batch()[0].kind[0])] += 1
    assert taken == {"popular": 6, "lonely0": 1, "lonely1": 1, "lonely2": 1}


async def test_owner_behind_others_does_not_keep_their_texts_waiting_for_long() -> None:
    queue = queue_of(*(item("encode", owner="hours") for _ in range(9)))
    taken = []
    for _ in range(6):
        queue.add(item("a", owner="hours"))
        queue.add(item("a", owner="clip"))
        batch = queue.next_batch()
        taken += [one.owner for one in batch if not one.is_encoding]
        queue.charge(batch, 0.1)
    assert taken.index("hours") <= 3


async def test_fail_all_fails_pending_items_only() -> None:
    done, cancelled, waiting, encoding = item("a"), item("a"), item("a"), item("encode")
    done.result.set_result("done")
    cancelled.result.cancel()
    queue = queue_of(done, cancelled, waiting, encoding)
    queue.fail_all(lambda: RuntimeError("over"))
    assert len(queue) == 0
    assert done.result.result() == "done"
    for one in (waiting, encoding):
        with pytest.raises(RuntimeError, match="over"):
            await one.result


async def test_encodings_take_turns_by_owner() -> None:
    """A client whose windows were first does not hold up the clip of another one."""
    hours = [item("encode", "hours", owner="a") for _ in range(5)]
    queue = queue_of(*hours, item("encode", "clip", owner="b"), item("encode", "clip", owner="c"))
    hours[1].result.cancel()  # which costs its client this turn
    assert [queue.next_batch()[0].payload for _ in range(6)] == ["clip", "clip", "hours", "hours", "hours", "hours"]
    assert len(queue) == 0


async def test_clip_does_not_wait_for_a_batch_full_of_another_owners_windows() -> None:
    queue = queue_of(item("a", owner="clip"), *(item("encode", owner="hours") for _ in range(5)))
    assert drain(queue) == ["encode×1", "a×1", "encode×1", "encode×1", "encode×1", "encode×1"]


async def test_text_of_an_owner_that_has_had_less_does_not_wait_for_others_texts() -> None:
    """All windows of a batch end with the longest text."""
    queue = queue_of(*(item("encode", owner="hours") for _ in range(2)))
    queue.next_batch()
    queue.add(item("a", "hours", owner="hours"))
    queue.add(item("a", "clip", owner="clip"))
    assert [one.payload for one in queue.next_batch()] == ["clip"]
    assert drain(queue) == ["encode×1", "a×1"]


async def test_turns_cost_what_was_computed() -> None:
    """Silence takes as long to encode as speech; a clip's share of a batch is that of its steps."""
    queue = queue_of(*(item("encode", owner=owner) for owner in "ab" for _ in range(9)))
    a, b = queue.next_batch(), queue.next_batch()
    queue.charge(a, 3.0)
    queue.charge(b, 0.6)
    texts = [item("a", owner="a"), item("a", owner="b")]
    queue.charge(texts, 0.6, n_steps=[2, 1])
    assert [queue._encodings.time_of(owner) for owner in "abc"] == pytest.approx([3.4, 0.8, 0.0])
    assert [queue.next_batch()[0].owner for _ in range(4)] == ["b", "b", "b", "a"]


async def test_windows_of_one_owner_wait_until_their_batch_is_full() -> None:
    queue = queue_of(item("a", owner="hours"), *(item("encode", owner="hours") for _ in range(5)))
    assert drain(queue) == ["encode×1"] * 5 + ["a×1"]


async def test_live_windows_go_ahead_of_others_by_a_share() -> None:
    queue = queue_of(item("decode"), *(item("encode") for _ in range(2)))
    for _ in range(6):
        queue.add(item("encode", "live", is_live=True))
    taken = [str(queue.next_batch()[0].payload) for _ in range(9)]
    assert taken == ["live", "live", "None", "live", "live", "None", "live", "live", "None"]


async def test_live_windows_alone_wait_for_nothing() -> None:
    queue = queue_of(*(item("encode", is_live=True) for _ in range(5)))
    assert drain(queue) == ["encode×1"] * 5
