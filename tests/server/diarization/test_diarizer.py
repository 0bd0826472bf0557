"""The diarizing process: how it ends, and the memory that it takes. It is the real one."""

from __future__ import annotations

import asyncio

import numpy as np
import psutil
import pytest

from http_kit.running import until
from whisper_runtime.memory import DIARIZER_BYTES
from whisper_server.diarization.diarizer import Diarizer, SpeakerQuestion
from whisper_server.errors import MemoryFull, Unavailable
from whisper_server.memory.budget import MemoryBudget
from whisper_server.recordings.with_speakers import finding_turns

SECOND = np.zeros(16_000, np.float32)
HOUR = np.zeros(3600 * 16_000, np.float32)
"""Minutes of work."""


def diarizing() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [one for one in children if "whisper_server.diarization.worker" in " ".join(one.cmdline())]


@pytest.mark.parametrize("how", ["cancelled", "left"])
async def test_search_that_is_given_up_ends_its_process_and_frees_its_memory(how: str) -> None:
    diarizer, budget = Diarizer(), MemoryBudget(2 * DIARIZER_BYTES)
    if how == "cancelled":
        task = asyncio.create_task(diarizer.turns(HOUR, SpeakerQuestion(), new_reservation=budget.reservation))
        await until(diarizing)
        assert budget.used_bytes == DIARIZER_BYTES
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:  # as a request does whose client hangs up
        async with finding_turns(diarizer, HOUR, SpeakerQuestion(), budget.reservation):
            await until(diarizing)
    assert not diarizing()
    assert budget.used_bytes == 0


async def test_next_search_after_one_that_was_given_up_has_an_answer() -> None:
    diarizer, budget = Diarizer(), MemoryBudget(2 * DIARIZER_BYTES)
    async with finding_turns(diarizer, HOUR, SpeakerQuestion(), budget.reservation):
        await until(diarizing)
    assert await diarizer.turns(SECOND, SpeakerQuestion(), new_reservation=budget.reservation) == ()
    assert budget.used_bytes == DIARIZER_BYTES
    await diarizer.stop()
    assert not diarizing()
    assert budget.used_bytes == 0


async def test_server_with_less_memory_than_the_process_takes_says_so() -> None:
    budget = MemoryBudget(DIARIZER_BYTES - 1)
    with pytest.raises(Unavailable, match="MEMORY_BUDGET_BYTES"):
        await Diarizer().turns(SECOND, SpeakerQuestion(), new_reservation=budget.reservation)
    assert not diarizing()
    assert budget.used_bytes == 0


async def test_memory_that_others_hold_is_waited_for_by_the_client() -> None:
    budget = MemoryBudget(2 * DIARIZER_BYTES)
    with budget.reservation("other") as held:
        assert held.grow(DIARIZER_BYTES + 1)
        with pytest.raises(MemoryFull) as refused:
            await Diarizer().turns(SECOND, SpeakerQuestion(), new_reservation=budget.reservation)
    assert refused.value.retry_after_s
    assert not diarizing()
    assert budget.used_bytes == 0
