"""This server's pipeline in process, on the CPU engine, with what it asks of the engine and what it gets.

For `reference`, `padding` and `accuracy_cores`; benchmarks of the server itself go over HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from whisper_server.engines.ctranslate2.engine import Ctranslate2Config, Ctranslate2Engine
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.window_decoding import DecodingPolicy
from whisper_server.speech.words import split_words
from whisper_server.whisper.engine_protocol import (
    Alignment,
    Decoded,
    DecodeRequest,
    EngineWindow,
    LanguageGuess,
    ModelFacts,
)
from whisper_server.whisper.mel import padded_mel_frames
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, Transcript

MAX_WINDOW_S = 30.0
N_TEXT_POSITIONS = 448
GREEDY_TWICE = (0.0, 0.0)
"""As the reference is asked: a window that falls back is decoded again, and nothing is sampled."""


@dataclass
class HeardWindow:
    """One window of the engine."""

    n_samples: int
    n_decodings: int = 0
    tokens: tuple[int, ...] = ()
    """Of the first decoding."""
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    alignment: list[tuple[str, float, float]] = field(default_factory=list)
    """Words, starts and ends as the alignment gives them, before any clean-up."""


@dataclass(frozen=True)
class Heard:
    """One recording."""

    text: str
    words: list[tuple[str, float, float]]
    windows: list[HeardWindow]


class _ObservedWindow:
    """Implements the EngineWindow protocol."""

    def __init__(self, inner: EngineWindow, heard: HeardWindow, tokenizer: WhisperTokenizer, language: str) -> None:
        self._inner, self._heard, self._tokenizer, self._language = inner, heard, tokenizer, language

    async def detect_language(self) -> LanguageGuess:
        return await self._inner.detect_language()

    async def decode(self, request: DecodeRequest) -> Decoded:
        decoded = await self._inner.decode(request)
        if not self._heard.n_decodings:
            self._heard.tokens = decoded.tokens
            self._heard.avg_logprob = decoded.sum_logprob / (len(decoded.tokens) + 1)
            self._heard.no_speech_prob = decoded.no_speech_prob
        self._heard.n_decodings += 1
        return decoded

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        alignment = await self._inner.align(sot_sequence, text_tokens)
        first = 0
        for word, n_tokens in split_words(text_tokens, self._tokenizer.detokenize, self._language):
            times_s = alignment.token_starts_s[first], alignment.token_starts_s[first + n_tokens]
            self._heard.alignment.append((word, *times_s))
            first += n_tokens
        return alignment

    def close(self) -> None:
        self._inner.close()


class _ObservedEngine:
    """Implements the Engine protocol; `windows` are those opened for the recording at hand."""

    def __init__(self, inner: Ctranslate2Engine, tokenizer: WhisperTokenizer, *, pads_all: bool) -> None:
        self._inner, self._tokenizer, self._pads_all = inner, tokenizer, pads_all
        self.windows: list[HeardWindow] = []
        self.language = ""

    @property
    def facts(self) -> ModelFacts:
        return self._inner.facts

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    def health(self) -> str | None:
        return self._inner.health()

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> EngineWindow:
        self.windows.append(HeardWindow(len(samples)))
        inner = self._inner.open_window(
            samples, owner=owner, is_live=is_live, timestamps=timestamps and not self._pads_all
        )
        return _ObservedWindow(inner, self.windows[-1], self._tokenizer, self.language)


class OurPipeline:
    """One model, one recording at a time. An async context manager."""

    def __init__(
        self,
        checkpoint: Path,
        cache: Path,
        n_threads: int,
        mel_frames: Callable[[int], int] = padded_mel_frames,
        *,
        dtype: str = "float32",
        pads_all: bool = False,
        fallback_temperatures: tuple[float, ...] = GREEDY_TWICE,
        is_multilingual: bool = True,
    ) -> None:
        """`mel_frames` is for windows without timestamps, with `pads_all` for all."""
        config = Ctranslate2Config(
            model_id=str(checkpoint),
            checkpoint=checkpoint,
            cache=cache,
            dtype=dtype,
            n_threads=n_threads,
            max_batch_windows=1,
            mel_frames=mel_frames,
        )
        self._engine = Ctranslate2Engine(config)
        self._tokenizer = WhisperTokenizer.from_folder(checkpoint, is_multilingual=is_multilingual)
        self._observed = _ObservedEngine(self._engine, self._tokenizer, pads_all=pads_all)
        self._fallback_temperatures = fallback_temperatures

    async def __aenter__(self) -> Self:
        await self._engine.start()
        policy = DecodingPolicy(
            beam_size=1,
            fallback_temperatures=self._fallback_temperatures,
            max_new_tokens=0,
            n_text_positions=N_TEXT_POSITIONS,
        )
        self._transcriber = Transcriber(
            self._observed,
            self._tokenizer,
            VoiceDetector(),
            policy,
            max_window_s=MAX_WINDOW_S,
            clock=time.monotonic,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._engine.stop()

    async def hear(self, samples: Samples, language: str, *, timestamps: bool) -> Heard:
        """The recording with segments and words, or its text alone."""
        transcript = await self.transcript(samples, Options(language=language, timestamps=timestamps, words=timestamps))
        words = [(word.word, word.start_s, word.end_s) for word in transcript.words]
        return Heard(transcript.text, words, self._observed.windows)

    async def transcript(self, samples: Samples, options: Options) -> Transcript:
        """The recording as the server has it before it is written in a format."""
        self._observed.windows, self._observed.language = [], options.language or ""
        async with self._transcriber.transcribe(samples, options) as transcription:
            return await transcription.transcript()
