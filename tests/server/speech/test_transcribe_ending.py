"""Recordings that end early (left, cancelled, failed) free all of their work; the wait of others is estimated."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from model_kit.engine_double import EngineDouble, VoiceDetectorDouble
from model_kit.pipeline import assert_idle, hold_window, number, numbered, options, pipeline, recording, spans
from whisper_server.errors import InternalError
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Samples


async def test_leaving_in_the_middle_frees_everything() -> None:
    engine = EngineDouble(numbered)
    hold_window(engine, 3)
    transcriber = pipeline(engine)
    async with transcriber.transcribe(recording(20), options(language=None)) as job:
        async with aclosing(job.windows()) as windows:  # type: ignore[type-var]
            async for window in windows:
                if window.text == " w2":
                    break
        assert engine.n_open > 0
    assert_idle(transcriber, engine)


async def test_cancelled_request_frees_everything() -> None:
    engine = EngineDouble(numbered)
    hold_window(engine, 0)
    transcriber = pipeline(engine)

    async def transcribe() -> None:
        async with transcriber.transcribe(recording(20), options(language=None)) as job:
            await job.transcript()

    task = asyncio.create_task(transcribe())
    while not engine.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_idle(transcriber, engine)


@pytest.mark.parametrize("n_slots", [1, 4])
async def test_failed_window_ends_its_recording_only(n_slots: int) -> None:
    def failing(samples: Samples, request: DecodeRequest) -> Decoded:
        if samples[0] >= 0.5 and number(samples) == 3:
            raise InternalError("the engine failed")
        return numbered(samples, request)

    engine = EngineDouble(failing, n_slots=n_slots)
    transcriber = pipeline(engine, VoiceDetectorDouble(spans=spans(6)))

    async def transcribe(marker: float) -> list[str]:
        texts = []
        async with transcriber.transcribe(recording(6, marker=marker), options(language=None)) as job:
            try:
                async for window in job.windows():
                    texts.append(window.text)
            except InternalError as error:
                texts.append(error.message)
        return texts

    failed, other = await asyncio.gather(transcribe(0.5), transcribe(0.0))
    assert failed == ["w0", " w1", " w2", "the engine failed"]
    assert other == ["w0", *(f" w{n}" for n in range(1, 6))]
    assert_idle(transcriber, engine)


async def test_failed_language_detection_fails_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EngineDouble(numbered, languages=())
    transcriber = pipeline(engine)

    def failing(_samples: Samples, **_: float) -> bool:
        raise InternalError("detector failed")

    monkeypatch.setattr(transcriber.voice, "has_speech", failing)
    with pytest.raises(InternalError, match="detector failed"):
        async with transcriber.transcribe(recording(5), options(language=None)) as job:
            await job.transcript()
    assert_idle(transcriber, engine)


async def test_wait_is_estimated_from_measured_throughput() -> None:
    def slow(samples: Samples, request: DecodeRequest) -> Decoded:
        time.sleep(0.01)
        return numbered(samples, request)

    engine = EngineDouble(slow)
    transcriber = pipeline(engine, VoiceDetectorDouble(spans=spans(10)))
    async with transcriber.transcribe(recording(10), options()) as job:
        await job.transcript()
    assert transcriber.estimated_wait_s() == 0
    event = hold_window(engine, 0)
    async with transcriber.transcribe(recording(10), options()) as job:
        windows = asyncio.create_task(job.transcript())
        while not engine.max_open or transcriber.wait_estimator.n_open < 10:
            await asyncio.sleep(0)
        assert 0.03 < transcriber.estimated_wait_s() < 1
        event.set()
        await windows
    assert_idle(transcriber, engine)
