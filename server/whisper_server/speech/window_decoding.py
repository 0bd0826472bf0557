"""One window from sound to an accepted text: temperature fallback, the check for invented speech, prompts that mislead.

Follows `decode_with_fallback` of openai/whisper's `transcribe.py`. `window_transcription` decodes what the text leaves out, and times it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from whisper_server.speech import temperature_fallback
from whisper_server.speech.previous_text import is_unsure
from whisper_server.speech.repetition import (
    EarlierText,
    adds_phrase,
    ends_in_loop,
    is_part_of,
    is_similar,
    shares_phrase,
    without_repetition,
)
from whisper_server.speech.temperature_fallback import Attempt
from whisper_server.speech.text_times import NO_PREFIX, Prefix
from whisper_server.speech.timestamps import overruns
from whisper_server.speech.voice_activity import HeardVoice, Voice
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import DecodeRequest, EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, VoiceActivity

MIN_KEPT_TOKENS = 0.8
"""Of a first text, in a second one that may replace it: 31 of 32 have 0.94 and more of its words (Whisper base, people), one 0.67, and left a
sentence out. In 75 long recordings it costs 0.01 points of the words with timestamps, and none without."""


@dataclass(frozen=True)
class DecodingPolicy:
    """Decoding settings of the server."""

    beam_size: int
    fallback_temperatures: tuple[float, ...]
    max_new_tokens: int
    """0: half of the model's context."""
    n_text_positions: int


@dataclass(frozen=True)
class WindowDecoder:
    """Decodes single windows of one request in a given language."""

    tokenizer: WhisperTokenizer
    policy: DecodingPolicy
    voice: Voice
    options: Options
    language: str
    previous: tuple[int, ...]
    """Tokens of prompt and keywords."""
    on_fallback: Callable[[], None]
    earlier: EarlierText | None = None
    prefix: Prefix = NO_PREFIX
    """Only without timestamps."""
    previous_if_unsure: Callable[[str, str], Awaitable[tuple[int, ...]]] | None = None
    """`previous` for the second decoding of a window that the model is unsure of; takes the text of the first, and its language."""

    async def decode(self, engine_window: EngineWindow, samples: Samples) -> Attempt | None:
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
            is_good = not attempt.needs_fallback or await self._is_said_again(attempt, samples)
            if is_good and not self._overruns(attempt, samples):
                return attempt
            attempts.append(attempt)
        best = temperature_fallback.best(attempts, partial(ends_in_loop, tokenizer=self.tokenizer))
        if not await self._is_clear_speech(best, samples):
            return None
        return without_repetition(best, self.tokenizer)

    async def likelier(self, engine_window: EngineWindow, samples: Samples, attempt: Attempt) -> Attempt:
        """The attempt, or where the model is unsure of it a second one with the text before the window, if that is likelier."""
        if (
            self.previous_if_unsure is None
            or len(self.policy.fallback_temperatures) == 1
            or not is_unsure(attempt, timestamps=self.options.timestamps)
        ):
            return attempt
        previous = await self.previous_if_unsure(attempt.text, self.language)
        if previous == self.previous:
            return attempt
        again = await self._decode(engine_window, previous, 0.0)
        is_worse = (
            again.avg_logprob <= attempt.avg_logprob
            or again.needs_fallback
            or again.is_wordless
            or again.decoded.hit_length_limit
            or self._overruns(again, samples)
            or not is_similar(again.text, attempt.text)
            or len(again.decoded.tokens) < MIN_KEPT_TOKENS * len(attempt.decoded.tokens)
            or adds_phrase(again.text, attempt.text, self.tokenizer.detokenize(previous))
        )
        return attempt if is_worse else again

    def _overruns(self, attempt: Attempt, samples: Samples) -> bool:
        return overruns(attempt.decoded.tokens, self.tokenizer.timestamp_s, len(samples) / SAMPLE_RATE_HZ)

    async def _is_speech(self, attempt: Attempt, samples: Samples, threshold: float = VoiceActivity.threshold) -> bool:
        """Whether the voice detector finds speech for a text that is doubtful."""
        threshold = temperature_fallback.speech_threshold(attempt, len(samples) / SAMPLE_RATE_HZ, threshold)
        return await self._has_speech(samples, threshold)

    async def _has_speech(self, samples: Samples, threshold: float = VoiceActivity.threshold) -> bool:
        if isinstance(self.voice, HeardVoice):  # it compares two numbers, and the way to a thread takes 0.2 ms
            return self.voice.has_speech(samples, threshold=threshold)
        return await asyncio.to_thread(self.voice.has_speech, samples, threshold=threshold)

    async def _is_clear_speech(self, attempt: Attempt, samples: Samples) -> bool:
        return await self._is_speech(attempt, samples, temperature_fallback.CLEAR_SPEECH_THRESHOLD)

    async def _is_said_again(self, attempt: Attempt, samples: Samples) -> bool:
        """Whether in a text that repeats itself the speaker does so. A model that does goes on to the end; people say one sentence three times, too."""
        return (
            attempt.avg_logprob >= temperature_fallback.MIN_SAID_AGAIN_AVG_LOGPROB
            and not ends_in_loop(attempt, self.tokenizer)
            and await self._is_clear_speech(attempt, samples)
        )

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
        return attempt.is_wordless and await self._has_speech(samples)

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
        sot_sequence = self.tokenizer.sot_sequence(self.language, self.options.task)
        room = self.policy.n_text_positions - max(len(prompt_tokens), len(sot_sequence) + 2 + len(prefix))
        return DecodeRequest(
            prompt_tokens=prompt_tokens,
            n_task_tokens=n_task_tokens + len(prefix),
            temperature=temperature,
            beam_size=self.policy.beam_size,
            # Half of the context is openai/whisper's limit (`sample_len`); a repetition loop should not cost twice that.
            max_new_tokens=min(room, self.policy.max_new_tokens or self.policy.n_text_positions // 2),
            logprobs=self.options.logprobs,
            n_prefix_tokens=len(prefix),
            sot_sequence=sot_sequence if self.options.words and not prefix else (),
        )
