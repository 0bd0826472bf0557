import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from whisper_operator.reconcile.work_queue import BackOff, Result, WorkQueue

DONE = Result()
QUICK = BackOff(first_s=0.02, max_s=0.1, jitter=0)


class Work:
    """Counts calls, and blocks them until the gate opens."""

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.result: Callable[[str], Result] = lambda key: DONE

    async def __call__(self, key: str) -> Result:
        self.turns[key] += 1
        self.at_once[key] += 1
        assert self.at_once[key] == 1
        self.most = max(self.most, self.at_once.total())
        await self.gate.wait()
        await asyncio.sleep(0)
        self.at_once[key] -= 1
        return self.result(key)


@asynccontextmanager
async def running(queue: WorkQueue[str], n_workers: int = 3) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(n_workers))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def settled(queue: WorkQueue[str]) -> None:
    async with asyncio.timeout(5):
        while not queue.idle:
            await asyncio.sleep(0.001)


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_waiting_key_is_queued_once() -> None:
    work = Work()
    queue = WorkQueue(work)
    for _ in range(100):
        queue.add("a")
        queue.add("b")
    assert queue.depth == 2
    async with running(queue):
        await settled(queue)
    assert work.turns == {"a": 1, "b": 1}


async def test_key_added_while_processed_runs_once_more_not_in_parallel() -> None:
    work = Work()
    queue = WorkQueue(work)
    work.gate.clear()
    async with running(queue):
        queue.add("a")
        await holds(lambda: work.turns["a"] == 1)
        for _ in range(10):
            queue.add("a")
        assert queue.depth == 1
        work.gate.set()
        await settled(queue)
    assert work.turns == {"a": 2}


async def test_as_many_keys_run_in_parallel_as_there_are_workers() -> None:
    work = Work()
    queue = WorkQueue(work)
    work.gate.clear()
    async with running(queue, n_workers=3):
        for key in "abcdefgh":
            queue.add(key)
        await holds(lambda: work.most == 3)
        work.gate.set()
        await settled(queue)
    assert work.most == 3
    assert len(work.turns) == 8


async def test_keys_run_in_the_order_in_which_they_were_added() -> None:
    order: list[str] = []

    async def work(key: str) -> Result:
        order.append(key)
        return DONE

    queue = WorkQueue(work)
    for key in "cab":
        queue.add(key)
    async with running(queue, n_workers=1):
        await settled(queue)
    assert order == ["c", "a", "b"]


async def test_failed_key_is_requeued_and_successful_key_is_not() -> None:
    work = Work()
    work.result = lambda key: Result(failed=key == "bad" and work.turns["bad"] < 4)
    queue = WorkQueue(work, back_off=QUICK)
    async with running(queue):
        queue.add("bad")
        queue.add("good")
        await holds(lambda: work.turns["bad"] == 4)
        await asyncio.sleep(0.15)
    assert work.turns == {"bad": 4, "good": 1}


async def test_exception_counts_as_failure_and_stops_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()

    def result(key: str) -> Result:
        if key == "bad" and work.turns["bad"] == 1:
            raise ZeroDivisionError
        return DONE

    work.result = result
    queue = WorkQueue(work, back_off=QUICK)
    async with running(queue, n_workers=1):
        queue.add("bad")
        queue.add("good")
        await holds(lambda: work.turns["bad"] == 2 and work.turns["good"] == 1)
    assert "ZeroDivisionError" in caplog.text


async def test_new_event_does_not_wait_for_the_back_off() -> None:
    work = Work()
    work.result = lambda key: Result(failed=work.turns["a"] == 1)
    queue = WorkQueue(work, back_off=BackOff(first_s=3600))
    async with running(queue):
        queue.add("a")
        await settled(queue)
        queue.add("a")
        await settled(queue)
    assert work.turns == {"a": 2}


async def test_earliest_of_several_delays_counts() -> None:
    work = Work()
    queue = WorkQueue(work)
    async with running(queue):
        queue.add_after("a", 3600)
        queue.add_after("a", 0.02)
        queue.add_after("a", 1800)
        queue.add_after("b", 3600)
        await holds(lambda: work.turns["a"] == 1)
        await asyncio.sleep(0.05)
    assert work.turns == {"a": 1}


async def test_result_with_requeue_after_runs_again() -> None:
    work = Work()
    work.result = lambda key: Result(requeue_after_s=0.02 if work.turns["a"] < 3 else None)
    queue = WorkQueue(work)
    async with running(queue):
        queue.add("a")
        await holds(lambda: work.turns["a"] == 3)
        await asyncio.sleep(0.05)
    assert work.turns == {"a": 3}


async def test_failed_key_waits_at_least_requeue_after() -> None:
    clock = [0.0]
    work = Work()
    work.result = lambda key: Result(failed=True, requeue_after_s=7)
    queue = WorkQueue(work, back_off=QUICK, clock=lambda: clock[0])
    async with running(queue):
        queue.add("a")
        await settled(queue)
        for clock[0], turns in ((6.9, 1), (7.1, 2)):
            queue.add_after("wake", 0)
            await holds(lambda: work.turns["wake"] > 0)
            await settled(queue)
            work.turns.pop("wake")
            assert work.turns == {"a": turns}


@pytest.mark.parametrize(
    ("n_failures", "random_number", "expected_s"),
    [(1, 0.5, 0.5), (2, 0.5, 1), (5, 0.5, 8), (8, 0.5, 60), (1000, 0.5, 60), (1, 0, 0.375), (1, 1, 0.625), (9, 1, 75)],
)
def test_back_off_doubles_up_to_its_maximum(n_failures: int, random_number: float, expected_s: float) -> None:
    assert BackOff().after(n_failures, random_number) == pytest.approx(expected_s)


async def test_no_key_is_lost_under_many_events() -> None:
    seen: dict[str, int] = {}
    written = Counter[str]()

    async def work(key: str) -> Result:
        version = written[key]
        await asyncio.sleep(0)
        seen[key] = version
        return DONE

    queue = WorkQueue(work)
    async with running(queue, n_workers=4):
        for number in range(5000):
            key = str(number % 37)
            written[key] += 1
            queue.add(key)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await settled(queue)
    assert seen == written
