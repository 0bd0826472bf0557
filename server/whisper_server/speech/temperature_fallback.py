"""When a decoded window is believed, taken for silence, or tried again at a higher temperature.

Thresholds and order are those of openai/whisper's `transcribe.py` (`decode_with_fallback`). Pure: no
decoding happens here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_server.whisper.engine_protocol import Decoded

MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH_PROB = 0.6
DOUBTFUL_AVG_LOGPROB = -0.3
"""Below it a text is not taken for speech before the voice detector has heard any. Clear speech stays above (0 of 40
sentences below), short tones and chords, which pass every other threshold, fall below (-0.41 … -0.97)."""
MAX_TEMPERATURE_WITH_PROMPT = 0.5
"""Above it the previous text is left out (openai/whisper: `condition_on_previous_text`)."""
MAX_REPEATED_TOKENS = 32
"""Longest phrase that is looked for when a repetition is collapsed."""


@dataclass(frozen=True)
class Attempt:
    """One decoding of a window, with what it is judged by."""

    decoded: Decoded
    text: str
    temperature: float
    avg_logprob: float
    compression_ratio: float

    @property
    def is_silence(self) -> bool:
        """No speech, says the model, and it is not sure of the words either."""
        return self.decoded.no_speech_prob > MAX_NO_SPEECH_PROB and self.avg_logprob < MIN_AVG_LOGPROB

    @property
    def is_wordless(self) -> bool:
        """Silence, or nothing at all."""
        return self.is_silence or not self.text.strip()

    @property
    def needs_fallback(self) -> bool:
        """Too repetitive or too unlikely to be what was said, and not silence."""
        too_repetitive = self.compression_ratio > MAX_COMPRESSION_RATIO
        return (too_repetitive or self.avg_logprob < MIN_AVG_LOGPROB) and not self.is_silence

    @property
    def is_doubtful(self) -> bool:
        """Failed, or so unlikely that it may have been invented where nobody speaks."""
        return self.needs_fallback or self.avg_logprob < DOUBTFUL_AVG_LOGPROB


def make_attempt(decoded: Decoded, text: str, temperature: float) -> Attempt:
    """Judge one decoding by its text."""
    return Attempt(
        decoded=decoded,
        text=text,
        temperature=temperature,
        avg_logprob=decoded.sum_logprob / (len(decoded.tokens) + 1),
        compression_ratio=compression_ratio(text),
    )


def compression_ratio(text: str) -> float:
    """How much smaller zlib makes the text; over 2.4 it repeats itself. 0 for no text."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def temperatures(asked: float | None, fallback: Sequence[float]) -> tuple[float, ...]:
    """The temperatures to try in turn: the ladder, unless the request names one above 0."""
    return (asked,) if asked else tuple(fallback)


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt to keep when all have failed: the likeliest that does not repeat itself, if any."""
    steady = [attempt for attempt in attempts if attempt.compression_ratio <= MAX_COMPRESSION_RATIO]
    if steady:
        return max(steady, key=lambda attempt: attempt.avg_logprob)
    return min(attempts, key=lambda attempt: attempt.compression_ratio)


def repetition_end(tokens: Sequence[int]) -> int:
    """How many tokens to keep so that a phrase that the text ends in is said once instead of over and over.

    A phrase of 1–32 tokens that stands at least three times at the end counts as a repetition; a last one
    that was cut off counts with it. Of several such phrases ("no no no, no no no, …") the one counts that
    leaves the least.
    """
    ends = [len(tokens)]
    for length in range(1, MAX_REPEATED_TOKENS + 1):
        run = length
        while run < len(tokens) and tokens[-run - 1] == tokens[-run - 1 + length]:
            run += 1
        if run >= 3 * length:
            ends.append(len(tokens) - run + length)
    return min(ends)
