"""Places go to owners in turn, and no place is ever lost, whoever leaves when."""

from __future__ import annotations

import asyncio
import random

import pytest

from whisper_server.speech.fair_semaphore import Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_owners_take_turns_whatever_they_have_waiting() -> None:
    turns = Turns(1)
    order: list[str] = []

    async def work(owner: str, number: int) -> None:
        async with turns.place(owner):
            order.append(f"{owner}{number}")
            await asyncio.sleep(0)

    async with turns.place("before them"):
        tasks = [asyncio.create_task(work("long", number)) for number in range(4)]
        tasks += [asyncio.create_task(work("short", number)) for number in range(2)]
        await settle_started(turns, 6)
    await asyncio.gather(*tasks)
    assert order == ["long0", "short0", "long1", "short1", "long2", "long3"]


async def settle_started(turns: Turns, n_waiting: int) -> None:
    await asyncio.sleep(0)
    assert turns.n_waiting == n_waiting


async def test_no_more_than_the_places_are_held() -> None:
    turns = Turns(3)
    held = most = 0

    async def work(owner: int) -> None:
        nonlocal held, most
        async with turns.place(owner):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0)
            held -= 1

    await asyncio.gather(*(work(n % 4) for n in range(40)))
    assert (most, held, turns.n_waiting) == (3, 0, 0)


async def test_who_leaves_the_queue_is_passed_over() -> None:
    turns = Turns(1)
    got: list[str] = []

    async def work(name: str) -> None:
        async with turns.place(name):
            got.append(name)

    async with turns.place("first"):
        leaver, stayer = asyncio.create_task(work("leaver")), asyncio.create_task(work("stayer"))
        await settle_started(turns, 2)
        leaver.cancel()
        await settle()
        assert turns.n_waiting == 1
    await stayer
    assert got == ["stayer"]


async def test_a_place_given_to_somebody_who_leaves_in_that_moment_is_passed_on() -> None:
    turns = Turns(1)
    first = turns.place("first")
    await first.__aenter__()
    leaver = asyncio.create_task(turns.place("leaver").__aenter__())
    await settle_started(turns, 1)
    await first.__aexit__(None, None, None)  # the place is the leaver's now, who does not know yet
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    async with asyncio.timeout(1), turns.place("next"):
        pass


async def test_a_failure_inside_gives_the_place_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError):
        async with turns.place("one"):
            raise ZeroDivisionError
    async with asyncio.timeout(1), turns.place("two"):
        pass


@pytest.mark.parametrize("seed", range(5))
async def test_no_place_is_lost_in_any_mix_of_leaving_and_failing(seed: int) -> None:
    rng = random.Random(seed)
    turns = Turns(4)

    async def work(owner: int) -> None:
        async with turns.place(owner):
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                raise ValueError

    tasks = [asyncio.create_task(work(rng.randrange(6))) for _ in range(100)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        rng.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert turns.n_waiting == 0
    async with asyncio.timeout(1), turns.place(1), turns.place(2), turns.place(3), turns.place(4):
        fifth = asyncio.create_task(turns.place(5).__aenter__())
        await settle_started(turns, 1)
        fifth.cancel()
        await settle()
