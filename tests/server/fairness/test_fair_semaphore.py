"""Slots go to owners round-robin, and no slot is lost when waiters are cancelled or fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from whisper_server.fairness.fair_semaphore import FairSemaphore


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_alternate_between_owners() -> None:
    slots = FairSemaphore(1)
    order: list[str] = []

    async def work(owner: str, number: int) -> None:
        async with slots.slot(owner):
            order.append(f"{owner}{number}")
            await asyncio.sleep(0)

    async with slots.slot("before them"):
        tasks = [asyncio.create_task(work("long", number)) for number in range(4)]
        tasks += [asyncio.create_task(work("short", number)) for number in range(2)]
        await settle_started(slots, 6)
    await asyncio.gather(*tasks)
    assert order == ["long0", "short0", "long1", "short1", "long2", "long3"]


async def settle_started(slots: FairSemaphore, n_waiting: int) -> None:
    await asyncio.sleep(0)
    assert slots.n_waiting == n_waiting


async def test_number_of_held_slots_never_exceeds_limit() -> None:
    slots = FairSemaphore(3)
    n_held = max_held = 0

    async def work(owner: int) -> None:
        nonlocal n_held, max_held
        async with slots.slot(owner):
            n_held += 1
            max_held = max(max_held, n_held)
            await asyncio.sleep(0)
            n_held -= 1

    await asyncio.gather(*(work(n % 4) for n in range(40)))
    assert (max_held, n_held, slots.n_waiting) == (3, 0, 0)


async def test_cancelled_waiter_is_skipped() -> None:
    slots = FairSemaphore(1)
    got: list[str] = []

    async def work(name: str) -> None:
        async with slots.slot(name):
            got.append(name)

    async with slots.slot("first"):
        leaver, stayer = asyncio.create_task(work("leaver")), asyncio.create_task(work("stayer"))
        await settle_started(slots, 2)
        leaver.cancel()
        await settle()
        assert slots.n_waiting == 1
    await stayer
    assert got == ["stayer"]


async def test_slot_assigned_to_cancelled_waiter_goes_to_next() -> None:
    slots = FairSemaphore(1)
    first = slots.slot("first")
    await first.__aenter__()
    leaver = asyncio.create_task(slots.slot("leaver").__aenter__())
    await settle_started(slots, 1)
    await first.__aexit__(None, None, None)  # assigns the slot to the leaver, whose task has not run yet
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    async with asyncio.timeout(1), slots.slot("next"):
        pass


async def test_failure_inside_releases_slot() -> None:
    slots = FairSemaphore(1)
    with pytest.raises(ZeroDivisionError):
        async with slots.slot("one"):
            raise ZeroDivisionError
    async with asyncio.timeout(1), slots.slot("two"):
        pass


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_is_lost_by_random_cancels_and_failures(seed: int) -> None:
    rng = random.Random(seed)
    slots = FairSemaphore(6, n_for_newcomers=seed % 3, max_urgent=4)
    n_urgent = 0

    async def work(owner: int) -> None:
        nonlocal n_urgent
        is_urgent = rng.random() < 0.4
        async with slots.slot(owner, is_urgent=is_urgent), counted(is_urgent=is_urgent):
            assert n_urgent <= 4
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                raise ValueError

    @asynccontextmanager
    async def counted(*, is_urgent: bool) -> AsyncIterator[None]:
        nonlocal n_urgent
        n_urgent += is_urgent
        try:
            yield
        finally:
            n_urgent -= is_urgent

    tasks = [asyncio.create_task(work(rng.randrange(6))) for _ in range(100)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        rng.choice(tasks).cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [one for one in ended if isinstance(one, AssertionError)]

    assert slots.n_waiting == 0
    async with AsyncExitStack() as held:
        for owner in range(6):
            async with asyncio.timeout(1):
                await held.enter_async_context(slots.slot(owner))
        seventh = asyncio.create_task(slots.slot(6).__aenter__())
        await settle_started(slots, 1)
        seventh.cancel()
        await settle()


async def test_owner_whose_turns_take_longer_gets_fewer() -> None:
    """With equal turns, windows that take ten times as long would take ten elevenths of the engine."""
    now_s, n_turns = 0.0, {"silence": 0, "clips": 0}
    slots = FairSemaphore(1, lambda: now_s)

    async def work(owner: str, held_s: float) -> None:
        nonlocal now_s
        async with slots.slot(owner):
            n_turns[owner] += 1
            now_s += held_s

    async with slots.slot("before them"):
        silence = [asyncio.create_task(work("silence", 10)) for _ in range(100)]
        clips = [asyncio.create_task(work("clips", 1)) for _ in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*clips)
    assert n_turns["silence"] <= 15
    await asyncio.gather(*silence)


async def test_urgent_waiters_come_first_up_to_half_of_the_slots() -> None:
    slots = FairSemaphore(2)
    order: list[str] = []
    go_on = asyncio.Event()

    async def work(name: str, *, is_urgent: bool) -> None:
        async with slots.slot(name, is_urgent=is_urgent):
            order.append(name)
            await go_on.wait()

    async with slots.slot("before"), slots.slot("before"):
        tasks = [asyncio.create_task(work(f"file {n}", is_urgent=False)) for n in range(2)]
        tasks += [asyncio.create_task(work(f"live {n}", is_urgent=True)) for n in range(3)]
        await asyncio.sleep(0)
        assert slots.n_waiting == 5
    await asyncio.sleep(0)
    assert order == ["live 0", "file 0"]
    go_on.set()
    await asyncio.gather(*tasks)
    assert (slots.n_waiting, slots.n_held) == (0, 0)


async def test_urgent_holders_have_no_more_than_their_limit_and_fewer_beside_others() -> None:
    slots = FairSemaphore(8, max_urgent=4)
    may_end = {"live": asyncio.Event(), "file": asyncio.Event()}
    holding: list[str] = []

    async def work(kind: str) -> None:
        async with slots.slot(object(), is_urgent=kind == "live"):
            holding.append(kind)
            await may_end[kind].wait()
            holding.remove(kind)

    files = [asyncio.create_task(work("file")) for _ in range(2)]
    await asyncio.sleep(0)
    live = [asyncio.create_task(work("live")) for _ in range(6)]
    await settle()
    assert sorted(holding) == ["file", "file", "live", "live", "live"], "though 3 of 8 slots are free"
    may_end["file"].set()
    await asyncio.gather(*files)
    await settle()
    assert holding == ["live"] * 4
    may_end["live"].set()
    await asyncio.gather(*live)
    assert (slots.n_waiting, slots.n_held) == (0, 0)


async def test_last_slots_are_for_owners_that_hold_none() -> None:
    slots = FairSemaphore(4, n_for_newcomers=2)
    order: list[str] = []
    go_on = asyncio.Event()

    async def work(owner: str, number: int) -> None:
        async with slots.slot(owner):
            order.append(f"{owner}{number}")
            await go_on.wait()

    tasks = [asyncio.create_task(work("hours", number)) for number in range(5)]
    await settle_started(slots, 3)
    tasks += [asyncio.create_task(work(owner, number)) for owner in ("clip", "other") for number in range(2)]
    await settle_started(slots, 5)
    assert order == ["hours0", "hours1", "clip0", "other0"]
    go_on.set()
    await asyncio.gather(*tasks)
    assert (slots.n_waiting, slots.n_held, dict(slots._held)) == (0, 0, {})


async def test_owner_alone_leaves_no_more_slots_than_those_for_newcomers() -> None:
    slots = FairSemaphore(5, n_for_newcomers=2)
    most = 0

    async def work() -> None:
        nonlocal most
        async with slots.slot("hours"):
            most = max(most, slots.n_held)
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, slots.n_waiting, slots.n_held) == (3, 0, 0)
