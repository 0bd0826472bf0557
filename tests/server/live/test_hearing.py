"""The voice detector beside the reading of sound: its steps, who waits for it, and what is left of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
import pytest

from http_kit.running import until
from live_kit.clients import tone
from live_kit.doubles import LiveSpeechDouble
from whisper_server.api.realtime_client_events import AppendAudio
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.live.hearing import MAX_STEP, MAX_UNHEARD, MIN_STEP, Hearing
from whisper_server.live.listening import Listening
from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.session import Session, SessionHooks
from whisper_server.live.session_options import SessionRules, TurnRules
from whisper_server.process.event_loop import cancel
from whisper_server.speech.live_windows import Turns
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options, Samples


class HeldVoice:
    """Answers only while it may."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.may_answer = asyncio.Event()

    async def add(self, samples: Samples) -> npt.NDArray[np.float32]:
        self.steps.append(len(samples))
        await self.may_answer.wait()
        return np.ones(len(samples), np.float32)


class Ear:
    """A hearing that runs."""

    def __init__(self) -> None:
        self.voice = HeldVoice()
        self.buffer = SampleBuffer()
        self.n_heard = 0
        self.hearing = Hearing(self.voice, self.buffer, self._count)

    async def _count(self, probabilities: npt.NDArray[np.float32]) -> None:
        self.n_heard += len(probabilities)

    async def arrive(self, n_samples: int) -> None:
        self.buffer.append(np.zeros(n_samples, np.float32), 0.0)
        await self.hearing.grown()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def listening() -> AsyncIterator[Ear]:
    ear = Ear()
    running = asyncio.create_task(ear.hearing.run())
    yield ear
    await cancel(running)


async def test_short_pieces_are_heard_together() -> None:
    async with listening() as ear:
        ear.voice.may_answer.set()
        await ear.arrive(MIN_STEP - 10)
        assert ear.voice.steps == []
        await ear.arrive(30)
        assert ear.voice.steps == [MIN_STEP + 20]
        assert ear.n_heard == MIN_STEP + 20


async def test_who_waits_for_all_waits_for_short_pieces_and_for_the_step_under_way() -> None:
    async with listening() as ear:
        await ear.arrive(MIN_STEP)
        await ear.arrive(10)
        waiting = asyncio.create_task(ear.hearing.catch_up())
        await settle()
        assert not waiting.done()
        assert ear.voice.steps == [MIN_STEP]
        ear.voice.may_answer.set()
        await asyncio.wait_for(waiting, 5)
        assert ear.voice.steps == [MIN_STEP, 10]
        assert ear.n_heard == MIN_STEP + 10


async def test_who_waits_for_all_does_not_wait_for_what_comes_later() -> None:
    async with listening() as ear:
        await ear.arrive(10)
        waiting = asyncio.create_task(ear.hearing.catch_up())
        await settle()
        await ear.arrive(MAX_STEP)
        ear.voice.may_answer.set()
        await asyncio.wait_for(waiting, 5)
        ear.voice.may_answer.clear()
        await ear.arrive(10)
        assert ear.voice.steps == [10, MAX_STEP], "short steps are for those who wait"


async def test_client_waits_where_much_is_unheard() -> None:
    async with listening() as ear:
        await ear.arrive(MIN_STEP)  # the step that does not end
        ear.buffer.append(np.zeros(MAX_UNHEARD + 1, np.float32), 0.0)
        waiting = asyncio.create_task(ear.hearing.grown())
        await settle()
        assert not waiting.done()
        ear.voice.may_answer.set()
        await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(ear.hearing.catch_up(), 5)
        assert max(ear.voice.steps) == MAX_STEP
        assert sum(ear.voice.steps) == ear.n_heard == MIN_STEP + MAX_UNHEARD + 1


@asynccontextmanager
async def session_ear(now_s: list[float]) -> AsyncIterator[Listening]:
    """With a clock that shows `now_s[0]`."""
    ear = Listening(
        LiveSpeechDouble(),
        TurnRules(turn_silence_ms=500),
        Options(),
        turns_of=lambda: Turns("alice", 1),
        emit=lambda _: None,
        clock=lambda: now_s[0],
    )
    running = asyncio.create_task(ear.hearing.run())
    yield ear
    await cancel(running)


FRAME = bytes(960)
"""20 ms."""


async def test_short_frames_are_decoded_together_and_count_from_the_first() -> None:
    now_s = [0.0]
    async with session_ear(now_s) as ear:
        for number in range(8):
            now_s[0] = 0.02 * number
            assert ear.buffer.end == 0
            await ear.append(FRAME)
        decoded = ear.buffer.end
        assert decoded > MIN_STEP
        assert ear.age_s(1) == pytest.approx(0.14)
        await settle()
        assert ear.hearing._given == decoded, "no second step has to come before it is heard"
        await ear.append(FRAME * 6)
        assert ear.buffer.end == decoded
        await asyncio.wait_for(ear.catch_up(), 5)
        assert ear.buffer.end > decoded


async def test_sound_after_a_silence_of_the_client_has_its_own_age() -> None:
    now_s = [0.0]
    async with session_ear(now_s) as ear:
        await ear.append(FRAME * 7 + b"\0")
        now_s[0] = 60.0
        await ear.append(FRAME * 20)
        assert ear.age_s(1) == 60.0
        assert ear.age_s(ear.buffer.end) == 0.0


async def test_a_pass_hears_all_that_has_come_when_the_engine_has_time() -> None:
    live = LiveSpeechDouble(slots=FairSemaphore(1))
    hooks = SessionHooks(lambda _: None, uncounted, lambda _: None)
    session = Session("s", SessionConfig(), live, SessionRules(()), hooks, owner="alice", clock=time.monotonic)
    running = asyncio.create_task(session.run())
    try:
        async with live.slots.slot("another session"):
            for _ in range(10):
                await session.take(AppendAudio(tone(0.1)))
            await until(lambda: live.slots.n_waiting == 1)
            await session.take(AppendAudio(tone(0.1)))  # less than is decoded at a time
            assert not live.requests
        await until(lambda: len(live.requests) == 1)
        assert live.n_samples[0] > 1.0 * SAMPLE_RATE_HZ
    finally:
        await cancel(running)


async def uncounted(_audio_s: float, _n_bytes: int) -> None:
    """As an account that has no limit."""
