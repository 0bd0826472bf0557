"""The pipeline with an engine double, and recordings whose samples encode the number of each window."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, said
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.window_decoding import DecodingPolicy
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Options, Samples, VoiceActivity

RATE_HZ = 16_000


def recording(n_windows: int, *, marker: float = 0.0) -> Samples:
    """Windows of 1 s, cut by silence; the first sample of window n is `marker` + n/1000."""
    samples = np.zeros(n_windows * RATE_HZ, np.float32)
    samples[::RATE_HZ] = marker + np.arange(n_windows, dtype=np.float32) / 1000
    return samples


def number(samples: Samples) -> int:
    return round(float(samples[0] % 0.5) * 1000)


def numbered(samples: Samples, _request: DecodeRequest) -> Decoded:
    return said(f" w{number(samples)}")


def spans(n_windows: int) -> tuple[tuple[int, int], ...]:
    return tuple((n * RATE_HZ, (n + 1) * RATE_HZ) for n in range(n_windows))


def pipeline(
    engine: EngineDouble, voice: VoiceDetectorDouble | None = None, *, temperatures: tuple[float, ...] = (0.0,)
) -> Transcriber:
    return Transcriber(
        engine,
        demo_tokenizer(),
        voice or VoiceDetectorDouble(spans=spans(100)),
        DecodingPolicy(1, temperatures, 0, 448),
        max_window_s=1.0,
        clock=time.monotonic,
    )


def options(**changes: Any) -> Options:
    """Voice activity from the double: one window per second."""
    return Options(**{"voice_activity": VoiceActivity(), "language": "en", **changes})


def assert_idle(transcriber: Transcriber, engine: EngineDouble) -> None:
    assert transcriber.queued_audio_s() == 0
    assert transcriber.wait_estimator.n_open == 0
    assert (transcriber.slots.n_waiting, transcriber.slots.n_held) == (0, 0)
    assert engine.n_open == 0
    assert not [task for task in asyncio.all_tasks() if "whisper_server/speech/transcribe" in repr(task)]


def hold_window(engine: EngineDouble, held: int) -> asyncio.Event:
    event = asyncio.Event()
    engine.hold = lambda samples: event if number(samples) == held else None
    return event
