"""Doubles of engine, pipeline and decoder that answer, stall and fail as a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from live_kit.doubles import LiveSpeechDouble
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.errors import Overloaded
from whisper_server.memory.budget import Reservation
from whisper_server.service import Backend
from whisper_server.whisper.engine_protocol import EngineWindow, ModelFacts
from whisper_server.whisper.transcript import Options, Samples, Segment, TokenLogprob, Transcript, WindowTranscript

DURATION_S = 2.5


@dataclass
class EngineDouble:
    problem: str | None = None

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            model_id="double",
            engine="double",
            dtype="float32",
            device="cpu",
            is_multilingual=True,
            n_text_positions=448,
            n_windows_in_flight=8,
        )

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def health(self) -> str | None:
        return self.problem

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> EngineWindow:
        raise NotImplementedError


class SoundDouble:
    def __init__(self, reservation: Reservation) -> None:
        self.samples: Samples = np.zeros(int(DURATION_S * 16_000), np.float32)
        self.duration_s = DURATION_S
        self.n_channels = 1
        self._reservation = reservation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reservation.release()


@dataclass
class DecoderDouble:
    n_calls: int = 0
    error: Exception | None = None

    wait_s: float = 0.0
    queued_s: float = 0.0
    owners: list[str] = field(default_factory=list)

    async def read_audio(
        self, source: MemoryFile, reservation: Reservation, owner: str = "", channel: int | None = None
    ) -> SoundDouble:
        self.n_calls += 1
        self.owners.append(owner)
        if self.error is not None:
            raise self.error
        sound = SoundDouble(reservation)
        if not reservation.grow(sound.samples.nbytes):
            raise reservation.refusal or Overloaded("no room", retry_after_s=5)
        return sound

    def queued_audio_s(self) -> float:
        return self.queued_s

    def estimated_wait_s(self, owner: str) -> float:
        return self.wait_s


@dataclass
class PipelineDouble:
    """Says `words`, a window each, `pause_s` before each; fails with `error` in place of window `fails_at`."""

    words: Sequence[str] = (" Hello", "", " Kubernetes.")
    pause_s: float = 0.0
    error: Exception | None = None
    fails_at: int = 0
    wait_s: float = 0.0
    queued_s: float = 0.0
    hold: asyncio.Event | None = None
    """Window `held_at` and those after it come only when it is set."""
    held_at: int = 0
    options: list[Options] = field(default_factory=list)
    n_open: int = 0
    n_left_early: int = 0

    own_work_s: float = 0.0

    def transcribe(self, samples: Samples, options: Options, owner: str = "") -> TranscriptionDouble:
        self.options.append(options)
        return TranscriptionDouble(self, options)

    def queued_audio_s(self) -> float:
        return self.queued_s

    def estimated_wait_s(self, owner: str = "", audio_s: float = 0.0) -> float:
        return self.wait_s

    def work_s(self, audio_s: float) -> float:
        return self.own_work_s


class TranscriptionDouble:
    def __init__(self, pipeline: PipelineDouble, options: Options) -> None:
        self._pipeline = pipeline
        self._options = options
        self._ended = False

    async def __aenter__(self) -> Self:
        self._pipeline.n_open += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipeline.n_open -= 1
        self._pipeline.n_left_early += not self._ended

    async def windows(self) -> AsyncIterator[WindowTranscript]:
        pipeline = self._pipeline
        # A time-out around a yield: it only works where one task runs the iterator to its end.
        async with asyncio.timeout(60):
            for number, text in enumerate(pipeline.words):
                if pipeline.hold is not None and number == pipeline.held_at:
                    await pipeline.hold.wait()
                await asyncio.sleep(pipeline.pause_s)
                if pipeline.error is not None and number == pipeline.fails_at:
                    raise pipeline.error
                yield _window(text, number, logprobs=self._options.logprobs)
        self._ended = True

    async def transcript(self) -> Transcript:
        return self.assemble([window async for window in self.windows()])

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        return Transcript(
            task=self._options.task,
            languages=(self._options.language or "en",),
            duration_s=DURATION_S,
            text="".join(window.text for window in windows),
            segments=tuple(segment for window in windows for segment in window.segments),
            logprobs=tuple(one for window in windows for one in window.logprobs),
            n_prompt_tokens=3,
            n_audio_tokens=125,
            n_output_tokens=sum(window.n_output_tokens for window in windows),
        )


def _window(text: str, number: int, *, logprobs: bool) -> WindowTranscript:
    segment = Segment(number, 0, number, number + 1.0, text, (1, 2), 0.0, -0.2, 1.1, 0.01)
    tokens = (TokenLogprob(text, tuple(text.encode()), -0.25),) if logprobs and text else ()
    return WindowTranscript(text, (segment,) if text else (), tokens, n_output_tokens=2 if text else 0)


@dataclass
class Doubles:
    """The three of them, and the backend that they make."""

    engine: EngineDouble = field(default_factory=EngineDouble)
    pipeline: PipelineDouble = field(default_factory=PipelineDouble)
    decoder: DecoderDouble = field(default_factory=DecoderDouble)
    live: LiveSpeechDouble = field(default_factory=LiveSpeechDouble)

    def backend(self) -> Backend:
        return Backend(self.engine, self.pipeline, self.decoder, self.live)
