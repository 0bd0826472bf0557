"""Splits the tokens of one window into segments at the timestamp tokens.

Follows openai/whisper's `transcribe.py`, but keeps a last segment without an end timestamp. Times count from
the start of the window. Text and words are handled elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from whisper_server.speech.loudness import AudibleFrames
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

MIN_SILENT_LEAD_S = 0.3
"""A segment that begins with this much near silence begins with its sound instead. The model's first timestamp is often
0.00 whatever comes first: 20 of 60 cues were 1.0 to 2.8 s early. Timestamps themselves are up to 0.3 s off."""
MIN_MUSIC_LEAD_S = 1.0
"""The same for music or noise, where the voice detector hears the speech begin. It is late itself: in 200 prompts without
music by 0.13 s (median), by 0.58 s (98 %), by 1.02 s once; after music by 0.43 s at most."""
MAX_OVERRUN_S = 0.2
"""Words that begin this much after the window's end were invented: none in 335 decodings of real speech, music and noise."""
SLOW_TOKENS_PER_S = 2.5
"""Faster segments have no room for a lead, and the detector is not asked: three of four of 226 segments in five languages."""


@dataclass(frozen=True)
class TokenSpan:
    """Tokens `first` to `end` of a window (timestamps included), with start and end in seconds of the window."""

    first: int
    end: int
    start_s: float
    end_s: float


def split_segments(
    tokens: Sequence[int], timestamp_s: Callable[[int], float | None], duration_s: float
) -> tuple[TokenSpan, ...]:
    """The segments of a window of `duration_s` seconds.

    `timestamp_s` returns the seconds of a timestamp token and None for any other token. Text before the first
    timestamp starts at the start of the window, text after the last one ends at its end. Times stay within the
    window and never decrease.
    """
    spans: list[TokenSpan] = []
    first, start_s, has_text = 0, 0.0, False
    for index, token in enumerate(tokens):
        time_s = timestamp_s(token)
        if time_s is None:
            has_text = True
            continue
        time_s = min(max(time_s, start_s), duration_s)
        if has_text:
            spans.append(TokenSpan(first, index + 1, start_s, time_s))
            first, has_text = index + 1, False
        start_s = time_s
    if has_text:
        spans.append(TokenSpan(first, len(tokens), start_s, duration_s))
    return tuple(spans)


def overruns(tokens: Sequence[int], timestamp_s: Callable[[int], float | None], duration_s: float) -> bool:
    """Whether there are words after the window's end: the model invented them in the silence that pads it."""
    now_s = 0.0
    for token in tokens:
        time_s = timestamp_s(token)
        if time_s is None and now_s >= duration_s + MAX_OVERRUN_S:
            return True
        now_s = now_s if time_s is None else time_s
    return False


def start_with_sound(
    spans: Sequence[TokenSpan], frames: AudibleFrames
) -> tuple[tuple[TokenSpan, ...], tuple[int, ...]]:
    """The segments of a window without the silence that they begin with, and the indices of those that are slow enough to begin with
    music or noise: `start_with_speech` asks the voice detector about them.
    """
    started, slow = list(spans), []
    for index, sound in enumerate(frames.within([(span.start_s, span.end_s) for span in spans])):
        span = spans[index]
        if sound is None:
            continue
        start_s = min(_later(span.start_s, sound[0], MIN_SILENT_LEAD_S), span.end_s)
        started[index] = replace(span, start_s=start_s)
        if span.end - span.first < SLOW_TOKENS_PER_S * (span.end_s - start_s):
            slow.append(index)
    return tuple(started), tuple(slow)


def start_with_speech(
    spans: Sequence[TokenSpan], slow: Sequence[int], samples: Samples, first_speech: Callable[[Samples], int | None]
) -> tuple[TokenSpan, ...]:
    """The segments of the window `samples`, the `slow` ones without the music or noise that they begin with.

    `first_speech` returns the sample at which the voice detector hears the first speech, or None.
    """
    started = list(spans)
    for index in slow:
        span = spans[index]
        first = first_speech(samples[round(span.start_s * SAMPLE_RATE_HZ) : round(span.end_s * SAMPLE_RATE_HZ)])
        start_s = _later(span.start_s, span.start_s + (first or 0) / SAMPLE_RATE_HZ, MIN_MUSIC_LEAD_S)
        started[index] = replace(span, start_s=min(start_s, span.end_s))
    return tuple(started)


def _later(start_s: float, speech_s: float, min_lead_s: float) -> float:
    return speech_s if speech_s - start_s >= min_lead_s else start_s
