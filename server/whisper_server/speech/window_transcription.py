"""One window from decoding to text: temperature fallback, the check for invented speech, segments and words.

Follows `decode_with_fallback` of openai/whisper's `transcribe.py`, and its `seek` inside the window: what the text
leaves out at the end is decoded again. `transcribe` decides the number and the order of windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from whisper_server.speech import temperature_fallback
from whisper_server.speech.repetition import (
    EarlierText,
    ends_in_loop,
    is_part_of,
    is_similar,
    shares_phrase,
    without_repeated_words,
    without_repetition,
)
from whisper_server.speech.seek import Seek, is_too_short, joined, look_back_sample, next_seek, speech_s, text_end
from whisper_server.speech.segments import segments, text_logprobs
from whisper_server.speech.temperature_fallback import Attempt
from whisper_server.speech.text_times import NO_PREFIX, Prefix, TextTimes
from whisper_server.speech.timestamps import overruns
from whisper_server.speech.voice_activity import Voice
from whisper_server.speech.windows import Window
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import DecodeRequest, EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, Task, VoiceActivity, WindowTranscript

MAX_RESTS = 4
"""The rest of a window is decoded at most this often. In 57 windows of real
speech, in five languages, 12 rests were decoded, 11 of them with words; one window had two."""


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
    earlier: EarlierText | None = None
    prefix: Prefix = NO_PREFIX
    """Only without timestamps."""

    async def transcribe(self, engine_window: EngineWindow, samples: Samples, window: Window) -> WindowTranscript:
        """Decode until a text is accepted, then the rest that it leaves out. Closes `engine_window`. Raises ApiError.

        `samples` are those of the window, without the prefix's. One engine window is open at a time, because the request holds one slot.
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
                    attempt = without_repeated_words(attempt, parts[-1].text, self.tokenizer, self._written_language)
                parts.append(await self._transcript(engine_window, samples, window, attempt))
                if await self._leaves_speech_out(parts[-1], samples):
                    timed = replace(self, options=replace(self.options, timestamps=True), prefix=NO_PREFIX)
                    if self.prefix.tokens:
                        engine_window.close()
                        engine_window = self.open_window(samples)
                    again = await timed.transcribe(engine_window, samples, window)
                    return max(parts[-1], again, key=lambda part: part.n_output_tokens)
            seek = await self._next_seek(attempt, samples, window)
        return joined(parts, self._written_language)

    @property
    def _written_language(self) -> str:
        return "en" if self.options.task is Task.TRANSLATE else self.language

    async def _leaves_speech_out(self, part: WindowTranscript, samples: Samples) -> bool:
        """Whether a text without timestamps, which has no place to go on from, is too short for the window's speech."""
        if self.options.timestamps or not is_too_short(part.n_output_tokens, len(samples) / SAMPLE_RATE_HZ):
            return False
        return is_too_short(part.n_output_tokens, speech_s(await asyncio.to_thread(self.voice.speech_spans, samples)))

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
        times = TextTimes(self.tokenizer, self.voice, self.options, self.language, self._written_language, self.prefix)
        spans, words = await times.of(engine_window, samples, tokens, window.duration_s)
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
                if not attempts or attempt.reports_silence or not await self._is_clear_speech(attempts[-1], samples):
                    return None
                continue  # drawn by chance: there is speech, and an earlier attempt has words
            # For tones, hum and music the model does not report "no speech" but invents words.
            if not attempts and attempt.is_doubtful and not await self._is_speech(attempt, samples):
                return None
            duration_s = len(samples) / SAMPLE_RATE_HZ
            is_over = overruns(attempt.decoded.tokens, self.tokenizer.timestamp_s, duration_s)
            if not attempt.needs_fallback and not is_over:
                return attempt
            attempts.append(attempt)
        best = temperature_fallback.best(attempts, partial(ends_in_loop, tokenizer=self.tokenizer))
        if not await self._is_clear_speech(best, samples):
            return None
        return without_repetition(best, self.tokenizer)

    async def _is_speech(self, attempt: Attempt, samples: Samples, threshold: float = VoiceActivity.threshold) -> bool:
        """Whether the voice detector finds speech for a text that is doubtful."""
        threshold = temperature_fallback.speech_threshold(attempt, len(samples) / SAMPLE_RATE_HZ, threshold)
        return await asyncio.to_thread(self.voice.has_speech, samples, threshold=threshold)

    async def _is_clear_speech(self, attempt: Attempt, samples: Samples) -> bool:
        return await self._is_speech(attempt, samples, temperature_fallback.CLEAR_SPEECH_THRESHOLD)

    async def _attempt(self, engine_window: EngineWindow, samples: Samples, temperature: float) -> Attempt:
        previous = self.previous if temperature <= temperature_fallback.MAX_TEMPERATURE_WITH_PROMPT else ()
        attempt = await self._decode(engine_window, previous, temperature)
        if previous and self.earlier is not None and shares_phrase(attempt.text, self.earlier.text):
            # Whisper base read a whole sentence of the turn before, in two passes, in the middle of another.
            self.earlier.on_misled()
            previous = self.earlier.without
            attempt = await self._decode(engine_window, previous, temperature)
        if not previous:
            return attempt
        is_prompt = is_part_of(attempt.text, self.options.prompt)
        if not is_prompt and not await self._is_derailed_by_prompt(attempt, samples):
            return attempt
        if self.earlier is not None:
            self.earlier.on_misled()
        unprompted = await self._decode(engine_window, (), temperature)
        return attempt if is_prompt and is_similar(attempt.text, unprompted.text) else unprompted

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
        prefix = self.prefix.tokens
        prompt_tokens += prefix
        # The alignment decodes the text once more, between `<|notimestamps|>` and `<|endoftext|>`.
        n_aligned_with = len(self.tokenizer.sot_sequence(self.language, self.options.task)) + 2 + len(prefix)
        room = self.policy.n_text_positions - max(len(prompt_tokens), n_aligned_with)
        return DecodeRequest(
            prompt_tokens=prompt_tokens,
            n_task_tokens=n_task_tokens + len(prefix),
            temperature=temperature,
            beam_size=self.policy.beam_size,
            # Half of the context is openai/whisper's limit (`sample_len`); a repetition loop should not cost twice that.
            max_new_tokens=min(room, self.policy.max_new_tokens or self.policy.n_text_positions // 2),
            logprobs=self.options.logprobs,
            n_prefix_tokens=len(prefix),
        )
