"""When the text of a window is said: its segments, and their words where they are asked for.

Short computations run on the event loop, and what asks the voice detector in a thread. With a thread for each computation the event
loop waited for Python's lock again and again: word times took a third of a GPU's speed (bench/RESULTS.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.segments import has_long_cue
from whisper_server.speech.timestamps import TokenSpan, split_segments, start_with_sound, start_with_speech
from whisper_server.speech.voice_activity import Voice
from whisper_server.speech.words import (
    TimedWord,
    begin_with_speech,
    cap_at_segment_starts,
    clip_to_sound,
    segment_ranges,
    split_words,
    time_words,
)
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Alignment, EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, VoiceActivity

WITHOUT_PADDING = VoiceActivity(prefix_padding_ms=0)
MAX_LATE_S = 0.25
"""By which the voice detector may find a start late: 0.11 and 0.13 s that of "Please" behind a second and three of silence."""
Words = tuple[tuple[TimedWord, ...], ...]
"""Of each segment."""


@dataclass(frozen=True)
class Prefix:
    """A text that the engine's window is known to begin with, which is no part of the transcript."""

    tokens: tuple[int, ...] = ()
    sound_s: float = 0.0
    """How long its sound is."""

    def cut_off(self, alignment: Alignment) -> Alignment:
        """The alignment of the text behind it, in seconds from the end of its sound."""
        n_tokens = len(self.tokens)
        if not n_tokens:
            return alignment
        starts_s = tuple(max(0.0, start_s - self.sound_s) for start_s in alignment.token_starts_s[n_tokens:])
        return Alignment(starts_s, alignment.token_probabilities[n_tokens:])


NO_PREFIX = Prefix()


@dataclass(frozen=True)
class TextTimes:
    """Times the texts of one request in a given language."""

    tokenizer: WhisperTokenizer
    voice: Voice
    options: Options
    language: str
    written_language: str
    """English in a translation."""
    prefix: Prefix = NO_PREFIX
    frames: AudibleFrames | None = None
    """Of the window, unless it is a rest of it."""

    async def of(
        self, engine_window: EngineWindow, samples: Samples, tokens: Sequence[int], duration_s: float
    ) -> tuple[tuple[TokenSpan, ...], Words]:
        """The segments of a window of `duration_s` seconds, and the words of each. Raises ApiError."""
        spans = split_segments(tokens, self.tokenizer.timestamp_s, duration_s)
        no_words: Words = ((),) * len(spans)
        if not (self.options.timestamps or self.options.words or self.options.cues):
            return spans, no_words
        frames = self.frames
        if frames is None or frames.n_samples != len(samples):
            frames = AudibleFrames(samples)
        if self.options.timestamps:
            spans, slow = start_with_sound(spans, frames)
            if slow:
                spans = await asyncio.to_thread(start_with_speech, spans, slow, samples, self.voice.first_speech)
        if not self.options.words and not (self.options.cues and has_long_cue(tokens, spans, self.tokenizer)):
            return spans, no_words
        return spans, await self._words(engine_window, samples, frames, tokens, spans)

    async def _words(
        self,
        engine_window: EngineWindow,
        samples: Samples,
        frames: AudibleFrames,
        tokens: Sequence[int],
        spans: Sequence[TokenSpan],
    ) -> Words:
        text_tokens = self.tokenizer.text_tokens(tokens)
        if not text_tokens:
            return ((),) * len(spans)
        sot_sequence = self.tokenizer.sot_sequence(self.language, self.options.task)
        alignment = await engine_window.align(sot_sequence, (*self.prefix.tokens, *text_tokens))
        alignment = self.prefix.cut_off(alignment)
        words = time_words(split_words(text_tokens, self.tokenizer.detokenize, self.written_language), alignment)
        n_tokens = [len(self.tokenizer.text_tokens(tokens[span.first : span.end])) for span in spans]
        ranges = segment_ranges(words, n_tokens)
        words = await self._begin_with_speech(words, [first for first, stop in ranges if stop > first], samples, frames)
        words = clip_to_sound(words, frames)
        return tuple(words[first:stop] for first, stop in ranges)

    async def _begin_with_speech(
        self, words: Sequence[TimedWord], first_words: Sequence[int], samples: Samples, frames: AudibleFrames
    ) -> tuple[TimedWord, ...]:
        """Shorten words that the alignment stretches over music; only for those the voice detector is asked."""
        capped = cap_at_segment_starts(words, first_words)
        for index in first_words:
            if capped[index] == words[index]:
                continue
            start, stop = (
                round(time_s * SAMPLE_RATE_HZ)
                for time_s in (words[index].start_s, words[min(index + 1, len(words) - 1)].end_s)
            )
            spans = await asyncio.to_thread(self.voice.speech_spans, samples[start:stop], WITHOUT_PADDING)
            if spans:
                speech_s = frames.run_start_s((start + spans[-1][0]) / SAMPLE_RATE_HZ, MAX_LATE_S)
                capped = begin_with_speech(capped, index, speech_s)
        return capped
