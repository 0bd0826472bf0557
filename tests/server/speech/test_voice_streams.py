"""The voice detector for many sessions: a few in threads, more in processes, which hear the same and may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import psutil
import pytest

from server_kit.process import command_of
from speech_kit.sentences import spoken
from whisper_runtime.memory import VOICE_PROCESS_BYTES
from whisper_server.errors import InternalError
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.memory.budget import MemoryBudget
from whisper_server.speech import voice_streams
from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import Probabilities, VoiceDetector
from whisper_server.speech.voice_process import VoiceProcess
from whisper_server.speech.voice_streams import THREAD_STREAMS, LiveVoice, VoiceStreams
from whisper_server.whisper.transcript import Samples

STEP = 3200
WORKER = "whisper_server.speech.voice_worker"


@pytest.fixture(scope="module")
def voice() -> VoiceDetector:
    return VoiceDetector()


@asynccontextmanager
async def streams(
    voice: VoiceDetector, max_processes: int = 1, budget: MemoryBudget | None = None
) -> AsyncIterator[VoiceStreams]:
    held = budget.reservation() if budget is not None else None
    opened = VoiceStreams(voice, FairSemaphore(2), held, max_processes=max_processes)
    try:
        yield opened
    finally:
        await opened.stop()
    assert not workers()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if WORKER in command_of(child)]


async def hear(stream: LiveVoice, samples: Samples) -> Probabilities:
    return np.concatenate([await stream.add(samples[at : at + STEP]) for at in range(0, len(samples), STEP)])


async def full(opened: VoiceStreams) -> list[LiveVoice]:
    """The threads' streams, all taken."""
    taken = [opened.open("alice", n) for n in range(THREAD_STREAMS)]
    await asyncio.gather(*(stream.add(np.zeros(STEP, np.float32)) for stream in taken))
    return taken


async def test_processes_hear_what_threads_hear(voice: VoiceDetector) -> None:
    sounds = [np.concatenate([spoken(language, 0).samples, np.zeros(8_000, np.float32)]) for language in ("en", "de")]
    async with streams(voice) as opened:
        await full(opened)
        assert not workers()
        others = [opened.open("bob", n) for n in range(2)]
        found = await asyncio.gather(*(hear(stream, sound) for stream, sound in zip(others, sounds, strict=True)))
        assert len(workers()) == 1
        for probabilities, sound in zip(found, sounds, strict=True):
            alone = VoiceStream(voice)
            expected = np.concatenate([alone.add(sound[at : at + STEP]) for at in range(0, len(sound), STEP)])
            assert np.array_equal(probabilities, expected)
        for stream in others:
            stream.close()


async def test_death_of_a_process_fails_its_streams_only(voice: VoiceDetector) -> None:
    async with streams(voice) as opened:
        taken = await full(opened)
        lost = opened.open("bob", 0)
        await lost.add(np.zeros(STEP, np.float32))
        (worker,) = workers()
        worker.suspend()
        waiting = asyncio.create_task(lost.add(np.zeros(STEP, np.float32)))
        await asyncio.sleep(0)
        worker.kill()
        with pytest.raises(InternalError):
            await asyncio.wait_for(waiting, 20)
        lost.close()
        assert len(await taken[0].add(np.zeros(STEP, np.float32)))
        assert len(await opened.open("bob", 1).add(np.zeros(STEP, np.float32)))


async def test_session_that_ends_leaves_its_place_in_a_thread(voice: VoiceDetector) -> None:
    async with streams(voice) as opened:
        (await full(opened))[0].close()
        await opened.open("bob", 0).add(np.zeros(STEP, np.float32))
        assert not workers()


async def test_without_processes_all_are_in_threads(voice: VoiceDetector) -> None:
    async with streams(voice, max_processes=0) as opened:
        await full(opened)
        assert len(await opened.open("bob", 0).add(np.zeros(STEP, np.float32))) == STEP // 512
        assert not workers()


async def test_processes_are_held_from_the_memory_budget(voice: VoiceDetector) -> None:
    budget = MemoryBudget(VOICE_PROCESS_BYTES)
    async with streams(voice, budget=budget) as opened:
        await full(opened)
        assert budget.used_bytes == 0
        in_process = opened.open("bob", 0)
        await in_process.add(np.zeros(STEP, np.float32))
        assert budget.used_bytes == VOICE_PROCESS_BYTES
        workers()[0].kill()
        with pytest.raises(InternalError):
            while True:
                await in_process.add(np.zeros(STEP, np.float32))
        await opened.open("bob", 1).add(np.zeros(STEP, np.float32))
        assert budget.used_bytes == VOICE_PROCESS_BYTES
    assert budget.used_bytes == 0


async def test_without_memory_for_a_process_all_are_in_threads(voice: VoiceDetector) -> None:
    budget = MemoryBudget(VOICE_PROCESS_BYTES - 1)
    async with streams(voice, budget=budget) as opened:
        await full(opened)
        assert len(await opened.open("bob", 0).add(np.zeros(STEP, np.float32))) == STEP // 512
        assert not workers()
        assert budget.used_bytes == 0


async def test_process_that_does_not_answer_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[VoiceProcess] = []
    process = VoiceProcess(ended.append)
    loop, due = asyncio.get_running_loop(), list[Callable[[], None]]()

    def call_later(_delay_s: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        due.append(partial(callback, *args))
        return loop.call_at(loop.time() + 3600, lambda: None)

    def time_is_up() -> None:
        due.pop()()

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", call_later)  # a machine as busy as can be answers in no fixed time
        await process.start()
        number = process.new_stream()
        await process.add(number, np.zeros(STEP, np.float32))
        for _ in range(3):
            time_is_up()
        assert not ended, "without pieces that wait it lives on"
        (worker,) = workers()
        worker.suspend()
        waiting = asyncio.create_task(process.add(number, np.zeros(STEP, np.float32)))
        await asyncio.sleep(0)
        time_is_up()
        assert not ended, "the piece may have come a moment ago"
        time_is_up()
        with pytest.raises(InternalError, match="has ended"):
            await asyncio.wait_for(waiting, 60)
    assert ended == [process]
    await process.stop()
    assert not worker.is_running()


async def test_process_without_streams_ends_and_gives_its_memory_back(
    voice: VoiceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_streams, "IDLE_S", 0.05)
    budget = MemoryBudget(VOICE_PROCESS_BYTES)
    async with streams(voice, budget=budget) as opened:
        await full(opened)
        stream = opened.open("bob", 0)
        await stream.add(np.zeros(STEP, np.float32))
        stream.close()
        async with asyncio.timeout(20):
            while budget.used_bytes or workers():
                await asyncio.sleep(0.01)
        await opened.open("bob", 1).add(np.zeros(STEP, np.float32))
        assert budget.used_bytes == VOICE_PROCESS_BYTES


async def test_process_that_starts_during_the_stop_ends_too(voice: VoiceDetector) -> None:
    async with streams(voice) as opened:
        await full(opened)
        starting = asyncio.create_task(opened.open("bob", 0).add(np.zeros(STEP, np.float32)))
        await asyncio.sleep(0)
        await opened.stop()
        await asyncio.gather(starting, return_exceptions=True)
