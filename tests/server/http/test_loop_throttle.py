"""An iteration of the event loop runs a limited number of steps, and every caller gets its step."""

from __future__ import annotations

import asyncio
from collections import Counter

from whisper_server.http.loop_throttle import LoopThrottle


class Rounds:
    """Counts the event loop's iterations, and which caller ran in which."""

    def __init__(self) -> None:
        self.number = 0
        self.steps: list[tuple[int, int]] = []
        """(iteration, caller)"""
        self._counting = asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.number += 1
        self._counting = asyncio.get_running_loop().call_soon(self._count)

    def end(self) -> None:
        self._counting.cancel()

    async def walk(self, throttle: LoopThrottle, who: int, n_steps: int = 1) -> None:
        for _ in range(n_steps):
            await throttle.acquire()
            self.steps.append((self.number, who))


async def test_iteration_runs_n_steps_in_order_of_arrival() -> None:
    throttle, rounds = LoopThrottle(3), Rounds()
    await asyncio.gather(*(rounds.walk(throttle, who) for who in range(20)))
    rounds.end()
    assert [who for _, who in rounds.steps] == list(range(20))
    a_round = Counter(number for number, _ in rounds.steps)
    assert max(a_round.values()) == 3
    assert sum(a_round.values()) == 20
    assert rounds.steps[-1][0] - rounds.steps[0][0] <= 20 / 3 + 1, "more than one round without a step"


async def test_single_caller_never_waits() -> None:
    throttle = LoopThrottle(1)
    for _ in range(3):
        step = throttle.acquire()
        try:
            step.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("the only caller waited")
        await asyncio.sleep(0)


async def test_caller_that_repeats_steps_lets_others_pass() -> None:
    throttle, rounds = LoopThrottle(1), Rounds()
    await asyncio.gather(*(rounds.walk(throttle, who, n_steps=5) for who in range(3)))
    rounds.end()
    assert [who for _, who in rounds.steps[:8]] == [0, 0, 1, 2, 0, 1, 2, 0]
    assert Counter(number for number, _ in rounds.steps).most_common(1)[0][1] == 1


async def test_cancelled_caller_takes_no_step() -> None:
    throttle, rounds = LoopThrottle(1), Rounds()
    walks = [asyncio.create_task(rounds.walk(throttle, who)) for who in range(6)]
    await asyncio.sleep(0)
    for who in (2, 3, 4):
        walks[who].cancel()
    await asyncio.gather(*walks, return_exceptions=True)
    rounds.end()
    assert [who for _, who in rounds.steps] == [0, 1, 5]
    assert rounds.steps[2][0] == rounds.steps[1][0] + 1


async def test_upload_with_least_left_goes_first_but_for_each_fourth_step() -> None:
    """Two uploads of the same size end one after the other, and a larger one goes on meanwhile."""
    throttle, order = LoopThrottle(1), list[str]()

    async def upload(name: str, n_pieces: int) -> None:
        for n_left in range(n_pieces, 0, -1):
            await throttle.acquire(n_left)
            order.append(name)

    await asyncio.gather(upload("large", 20), upload("first", 6), upload("second", 6))
    assert order.index("second") < 6, "some steps are by arrival"
    ends = {name: len(order) - order[::-1].index(name) for name in ("first", "second", "large")}
    assert ends["first"] < ends["second"] - 4
    assert ends["second"] < ends["large"]
    assert order[: ends["second"]].count("large") >= 3
