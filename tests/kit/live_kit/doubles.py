"""Doubles of the pipeline as live sessions see it: sound says what a test chose, and passes stall or fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.live.speech_protocol import Transcribe
from whisper_server.speech.live_windows import LiveTranscript, Turns, WindowRequest
from whisper_server.whisper.transcript import Options, Samples

FRAME_SAMPLES = 512
LOUD = 0.1
"""Samples above it are speech."""


class VoiceDouble:
    """Speech is what is loud."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def add(self, samples: Samples) -> npt.NDArray[np.float32]:
        sound = np.concatenate([self._rest, samples])
        n_frames = len(sound) // FRAME_SAMPLES
        frames = sound[: n_frames * FRAME_SAMPLES].reshape(n_frames, FRAME_SAMPLES)
        self._rest = sound[n_frames * FRAME_SAMPLES :]
        return np.asarray(np.abs(frames).max(axis=1, initial=0) > LOUD, np.float32)


class VoiceStreamDouble:
    """The same, once it may."""

    def __init__(self, hold: asyncio.Event | None = None) -> None:
        self._hold = hold
        self._voice = VoiceDouble()

    async def add(self, samples: Samples) -> npt.NDArray[np.float32]:
        if self._hold is not None:
            await self._hold.wait()
        return self._voice.add(samples)


@dataclass(frozen=True)
class SpeechFactsDouble:
    """Knows all languages, and takes words for tokens."""

    max_window_samples: int
    has_free_logprobs: bool
    frame_samples: int = FRAME_SAMPLES

    def check_options(self, options: Options) -> None: ...

    def n_tokens(self, text: str) -> int:
        return len(text.split())

    def new_voice(self) -> VoiceDouble:
        return VoiceDouble()


@dataclass
class LiveSpeechDouble:
    """Says a word per half second of loud sound."""

    error: Exception | None = None
    hold: asyncio.Event | None = None
    """Passes wait for it."""
    voice_hold: asyncio.Event | None = None
    """The voice detector waits for it."""
    slots: FairSemaphore = field(default_factory=lambda: FairSemaphore(100))
    window_seconds: float = 0.0
    pass_s: float = 0.0
    has_free_logprobs: bool = True
    max_window_samples: int = 30 * 16_000
    requests: list[WindowRequest] = field(default_factory=list)
    turn_ends: list[float] = field(default_factory=list)
    """What is said of the ends of turns, one after the other; then that they are none."""
    asked_of_turn_ends: list[int] = field(default_factory=list)
    """Samples of the sounds that it was asked of."""
    turns: list[Turns] = field(default_factory=list)
    n_samples: list[int] = field(default_factory=list)
    windows: list[Samples] = field(default_factory=list)
    """Without their context."""

    @property
    def facts(self) -> SpeechFactsDouble:
        return SpeechFactsDouble(self.max_window_samples, self.has_free_logprobs)

    def voice_stream(self, turns: Turns) -> VoiceStreamDouble:
        return VoiceStreamDouble(self.voice_hold)

    async def turn_end(self, samples: Samples, turns: Turns) -> float:
        self.asked_of_turn_ends.append(len(samples))
        await asyncio.sleep(0)
        return self.turn_ends.pop(0) if self.turn_ends else 0.0

    @asynccontextmanager
    async def slot(self, turns: Turns) -> AsyncIterator[Transcribe]:
        async with self.slots.slot(turns.owner, turns.session):
            yield partial(self._transcribe, turns)

    async def _transcribe(self, turns: Turns, samples: Samples, request: WindowRequest) -> LiveTranscript:
        self.requests.append(request)
        self.turns.append(turns)
        self.n_samples.append(len(samples))
        self.windows.append(samples[request.context.n_samples if request.context else 0 :].copy())
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        n_words = int((np.abs(self.windows[-1]) > LOUD).sum() // 8_000)
        return LiveTranscript("".join(f" w{n}" for n in range(n_words)), (), language=request.options.language or "en")

    def window_s(self) -> float:
        return self.window_seconds
