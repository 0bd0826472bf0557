"""The window of language detection keeps its slot of the engine until it is decoded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import Answer, EngineDouble, WindowDouble, said
from whisper_server.errors import InternalError
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.window_decoding import DecodingPolicy
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest, LanguageGuess
from whisper_server.whisper.transcript import Options, Samples


@dataclass
class SingleSlotEngine(EngineDouble):
    """An engine with one slot that decodes no words, and records the calls for each recording."""

    answer: Answer = lambda _samples, _request: said("")
    n_slots: int = 1
    calls: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> RecordedWindow:
        self.n_open += 1
        return RecordedWindow(self, samples)


class RecordedWindow(WindowDouble):
    def __init__(self, engine: SingleSlotEngine, samples: Samples) -> None:
        super().__init__(engine, samples)
        self._recorder = engine
        self._name = f"{samples[0]:.1f}"

    async def detect_language(self) -> LanguageGuess:
        await self._record("detect")
        if self._recorder.error is not None:
            raise self._recorder.error
        return await super().detect_language()

    async def decode(self, request: DecodeRequest) -> Decoded:
        await self._record("decode")
        return await super().decode(request)

    async def _record(self, what: str) -> None:
        await self._recorder.go_on.wait()
        self._recorder.calls.append(f"{what} {self._name}")


@pytest.fixture(scope="module")
def voice() -> VoiceDetector:
    return VoiceDetector()


def pipeline(engine: SingleSlotEngine, voice: VoiceDetector) -> Transcriber:
    policy = DecodingPolicy(beam_size=1, fallback_temperatures=(0.0,), max_new_tokens=0, n_text_positions=448)
    return Transcriber(engine, demo_tokenizer(), voice, policy, max_window_s=30, clock=lambda: 0.0)


async def transcribe(transcriber: Transcriber, level: float) -> None:
    async with transcriber.transcribe(np.full(SAMPLE_RATE_HZ, level, np.float32), Options()) as job:
        await job.transcript()


async def wait_for_slots(transcriber: Transcriber, n_held: int, n_waiting: int) -> None:
    async with asyncio.timeout(30):
        while (transcriber.slots.n_held, transcriber.slots.n_waiting) != (n_held, n_waiting):
            await asyncio.sleep(0.01)


async def test_short_recording_queues_for_slot_once(voice: VoiceDetector) -> None:
    engine = SingleSlotEngine()
    transcriber = pipeline(engine, voice)
    first = asyncio.create_task(transcribe(transcriber, 0.1))
    await wait_for_slots(transcriber, 1, 0)
    second = asyncio.create_task(transcribe(transcriber, 0.2))
    await wait_for_slots(transcriber, 1, 1)
    engine.go_on.set()
    await asyncio.gather(first, second)
    assert engine.calls == ["detect 0.1", "decode 0.1", "detect 0.2", "decode 0.2"]
    assert (engine.n_open, transcriber.slots.n_held, transcriber.wait_estimator.n_open) == (0, 0, 0)


async def test_slot_is_released_when_language_detection_fails(voice: VoiceDetector) -> None:
    engine = SingleSlotEngine(error=InternalError("The engine failed."))
    engine.go_on.set()
    transcriber = pipeline(engine, voice)
    with pytest.raises(InternalError):
        await transcribe(transcriber, 0.1)
    assert (engine.n_open, transcriber.slots.n_held, transcriber.wait_estimator.n_open) == (0, 0, 0)
    assert not transcriber.transcriptions


@pytest.mark.parametrize("n_turns_between", range(8))
async def test_second_cancellation_leaves_no_transcription_open(voice: VoiceDetector, n_turns_between: int) -> None:
    engine = SingleSlotEngine()
    transcriber = pipeline(engine, voice)
    task = asyncio.create_task(transcribe(transcriber, 0.1))
    await wait_for_slots(transcriber, 1, 0)
    task.cancel()
    for _ in range(n_turns_between):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_for_slots(transcriber, 0, 0)
    assert (engine.n_open, transcriber.wait_estimator.n_open, transcriber.queued_audio_s()) == (0, 0, 0.0)
