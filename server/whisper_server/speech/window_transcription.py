"""One window from decoding to text: temperature fallback, the check for invented speech, segments and words.

Follows `decode_with_fallback` of openai/whisper's `transcribe.py`, and its `seek` inside the window: what the text
leaves out at the end is decoded again. `transcribe` decides the number and the order of windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from whisper_server.speech import temperature_fallback
from whisper_server.speech.seek import Seek, joined, look_back_sample, n_repeated_words, next_seek, text_end
from whisper_server.speech.segments import segments, text_logprobs
from whisper_server.speech.temperature_fallback import Attempt
from whisper_server.speech.timestamps import TokenSpan, split_segments, start_with_sound
from whisper_server.speech.vad import Spans
from whisper_server.speech.windows import Window
from whisper_server.speech.words import (
    TimedWord,
    cap_at_segment_starts,
    clip_to_sound,
    segment_ranges,
    split_words,
    time_words,
)
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import DecodeRequest, EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, Task, VoiceActivity, WindowTranscript

MAX_OVERRUN_S = 0.2
EXHAUSTED_FALLBACK_SPEECH_THRESHOLD = 0.7
"""Threshold of the voice detector after all temperatures failed: speech in noise as loud as the speech passes 0.9, drums
and arpeggios pass at most 0.5."""
MAX_RESTS = 4
"""The rest of a window is decoded at most this often. One rest was enough in 30 windows of real speech."""


class Voice(Protocol):
    """The two calls of `VoiceDetector` that a window needs."""

    def has_speech(self, samples: Samples, *, threshold: float = ...) -> bool:
        """Whether `samples` have speech in them."""

    def speech_spans(self, samples: Samples) -> Spans:
        """The spans of speech, with the default padding."""


@dataclass(frozen=True)
class DecodingPolicy:
    """Decoding settings of the server."""

    beam_size: int
    fallback_temperatures: tuple[float, ...]
    max_new_tokens: int
    """0: half of the model's context."""
    n_text_positions: int


@dataclass(frozen=True)
class WindowTranscriber:
    """Transcribes single windows of one request in a given language."""

    tokenizer: WhisperTokenizer
    policy: DecodingPolicy
    voice: Voice
    open_window: Callable[[Samples], EngineWindow]
    """Opens the rest of a window (`Engine.open_window`)."""
    options: Options
    language: str
    previous: tuple[int, ...]
    """Tokens of prompt and keywords."""
    on_fallback: Callable[[], None]

    async def transcribe(self, engine_window: EngineWindow, samples: Samples, window: Window) -> WindowTranscript:
        """Decode until a text is accepted, then the rest that it leaves out. Closes `engine_window`. Raises ApiError.

        `samples` are those of the window. One engine window is open at a time, because the request holds one slot.
        """
        parts: list[WindowTranscript] = []
        seek: Seek | None = Seek(0, is_in_speech=False)
        while seek is not None and len(parts) <= MAX_RESTS:
            if parts:
                samples = samples[seek.sample :]
                window = Window(window.start_sample + seek.sample, window.end_sample)
                engine_window = self.open_window(samples)
            with closing(engine_window):
                attempt = await self._decode_with_fallback(engine_window, samples)
                if attempt is None:
                    break
                if seek.is_in_speech:
                    attempt = self._without_repeated_words(attempt, parts[-1].text)
                parts.append(await self._transcript(engine_window, samples, window, attempt))
            seek = await self._next_seek(attempt, samples, window)
        return joined(parts, self._written_language)

    @property
    def _written_language(self) -> str:
        return "en" if self.options.task is Task.TRANSLATE else self.language

    async def _next_seek(self, attempt: Attempt, samples: Samples, window: Window) -> Seek | None:
        """Where the window is decoded again; the voice detector is asked only if the text ends early."""
        end = text_end(attempt.decoded.tokens, self.tokenizer.timestamp_s, window.duration_s)
        if end is None:
            return None
        first = look_back_sample(end)
        spans = await asyncio.to_thread(self.voice.speech_spans, samples[first:])
        return next_seek(end, tuple((first + start, first + stop) for start, stop in spans))

    async def _transcript(
        self, engine_window: EngineWindow, samples: Samples, window: Window, attempt: Attempt
    ) -> WindowTranscript:
        tokens = attempt.decoded.tokens
        spans = split_segments(tokens, self.tokenizer.timestamp_s, window.duration_s)
        if self.options.timestamps:
            spans = start_with_sound(spans, samples)
        no_words: tuple[tuple[TimedWord, ...], ...] = ((),) * len(spans)
        words = await self._words(engine_window, samples, tokens, spans) if self.options.words else no_words
        return WindowTranscript(
            text=self.tokenizer.detokenize(tokens).rstrip(),
            segments=tuple(segments(attempt, spans, words, window, self.tokenizer)),
            logprobs=text_logprobs(attempt, self.tokenizer) if self.options.logprobs else (),
            n_output_tokens=len(self.tokenizer.text_tokens(tokens)),
        )

    async def _decode_with_fallback(self, engine_window: EngineWindow, samples: Samples) -> Attempt | None:
        """The accepted attempt; None for a window without speech."""
        attempts: list[Attempt] = []
        for temperature in temperature_fallback.temperatures(
            self.options.temperature, self.policy.fallback_temperatures
        ):
            if attempts:
                self.on_fallback()
            attempt = await self._attempt(engine_window, samples, temperature)
            if attempt.is_wordless:
                return None
            # For tones, hum and music the model does not report "no speech" but invents words.
            if not attempts and attempt.is_doubtful and not await self._is_speech(attempt, samples):
                return None
            if not attempt.needs_fallback and not self._overruns(attempt, samples):
                return attempt
            attempts.append(attempt)
        best = temperature_fallback.best(attempts)
        if not await self._is_speech(best, samples, EXHAUSTED_FALLBACK_SPEECH_THRESHOLD):
            return None
        return self._without_repetition(best)

    async def _is_speech(self, attempt: Attempt, samples: Samples, threshold: float = VoiceActivity.threshold) -> bool:
        """Whether the voice detector finds speech for a text that is doubtful."""
        threshold = temperature_fallback.speech_threshold(attempt, len(samples) / SAMPLE_RATE_HZ, threshold)
        return await asyncio.to_thread(self.voice.has_speech, samples, threshold=threshold)

    def _overruns(self, attempt: Attempt, samples: Samples) -> bool:
        """Whether there are words after the window's end: the model invented them in the silence that pads it."""
        now_s = 0.0
        for token in attempt.decoded.tokens:
            time_s = self.tokenizer.timestamp_s(token)
            if time_s is None and now_s >= len(samples) / SAMPLE_RATE_HZ + MAX_OVERRUN_S:
                return True
            now_s = now_s if time_s is None else time_s
        return False

    async def _attempt(self, engine_window: EngineWindow, samples: Samples, temperature: float) -> Attempt:
        previous = self.previous if temperature <= temperature_fallback.MAX_TEMPERATURE_WITH_PROMPT else ()
        attempt = await self._decode(engine_window, previous, temperature)
        if previous and await self._is_derailed_by_prompt(attempt, samples):
            attempt = await self._decode(engine_window, (), temperature)
        return attempt

    async def _is_derailed_by_prompt(self, attempt: Attempt, samples: Samples) -> bool:
        """Whether the model continued the prompt instead of transcribing, or returned no words for speech."""
        if attempt.decoded.hit_length_limit:
            return True
        return attempt.is_wordless and await asyncio.to_thread(self.voice.has_speech, samples)

    async def _decode(self, engine_window: EngineWindow, previous: Sequence[int], temperature: float) -> Attempt:
        decoded = await engine_window.decode(self._request(previous, temperature))
        return temperature_fallback.make_attempt(decoded, self.tokenizer.detokenize(decoded.tokens), temperature)

    def _request(self, previous: Sequence[int], temperature: float) -> DecodeRequest:
        prompt_tokens, n_task_tokens = self.tokenizer.prompt_tokens(
            self.language, self.options.task, previous=previous, timestamps=self.options.timestamps
        )
        # The alignment decodes the text once more, between `<|notimestamps|>` and `<|endoftext|>`.
        n_aligned_with = len(self.tokenizer.sot_sequence(self.language, self.options.task)) + 2
        room = self.policy.n_text_positions - max(len(prompt_tokens), n_aligned_with)
        return DecodeRequest(
            prompt_tokens=prompt_tokens,
            n_task_tokens=n_task_tokens,
            temperature=temperature,
            beam_size=self.policy.beam_size,
            # Half of the context is openai/whisper's limit (`sample_len`); a repetition loop should not cost twice that.
            max_new_tokens=min(room, self.policy.max_new_tokens or self.policy.n_text_positions // 2),
            logprobs=self.options.logprobs,
        )

    def _without_repeated_words(self, attempt: Attempt, before: str) -> Attempt:
        """The attempt without the words at its start that the text before it ends with. Timestamps stay."""
        decoded = attempt.decoded
        words = split_words(
            self.tokenizer.text_tokens(decoded.tokens), self.tokenizer.detokenize, self._written_language
        )
        n_words = n_repeated_words(before.split(), [text for text, _ in words])
        n_dropped = sum(n_tokens for _, n_tokens in words[:n_words])
        is_text = [self.tokenizer.is_text(token) for token in decoded.tokens]
        kept = [
            index for index, n_before in enumerate(accumulate(is_text)) if not is_text[index] or n_before > n_dropped
        ]
        tokens = tuple(decoded.tokens[index] for index in kept)
        logprobs = tuple(decoded.token_logprobs[index] for index in kept) if decoded.token_logprobs else ()
        decoded = replace(decoded, tokens=tokens, token_logprobs=logprobs)
        return replace(attempt, decoded=decoded, text=self.tokenizer.detokenize(tokens))

    def _without_repetition(self, attempt: Attempt) -> Attempt:
        """The attempt, with a phrase that is repeated at its end kept once."""
        text_tokens = self.tokenizer.text_tokens(attempt.decoded.tokens)
        n_kept = temperature_fallback.repetition_end(text_tokens)
        if n_kept == len(text_tokens):
            return attempt
        kept = text_tokens[:n_kept]
        logprobs = tuple(
            logprob
            for token, logprob in zip(attempt.decoded.tokens, attempt.decoded.token_logprobs, strict=False)
            if self.tokenizer.is_text(token)
        )[:n_kept]
        decoded = replace(attempt.decoded, tokens=kept, token_logprobs=logprobs)
        return replace(attempt, decoded=decoded, text=self.tokenizer.detokenize(kept))

    async def _words(
        self, engine_window: EngineWindow, samples: Samples, tokens: Sequence[int], spans: Sequence[TokenSpan]
    ) -> tuple[tuple[TimedWord, ...], ...]:
        """The words of each segment."""
        text_tokens = self.tokenizer.text_tokens(tokens)
        if not text_tokens:
            return ((),) * len(spans)
        sot_sequence = self.tokenizer.sot_sequence(self.language, self.options.task)
        alignment = await engine_window.align(sot_sequence, text_tokens)
        words = time_words(split_words(text_tokens, self.tokenizer.detokenize, self._written_language), alignment)
        n_tokens = [len(self.tokenizer.text_tokens(tokens[span.first : span.end])) for span in spans]
        ranges = segment_ranges(words, n_tokens)
        words = cap_at_segment_starts(words, [first for first, stop in ranges if stop > first])
        words = clip_to_sound(words, samples)
        return tuple(words[first:stop] for first, stop in ranges)
