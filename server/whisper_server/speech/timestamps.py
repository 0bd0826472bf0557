"""Splits the tokens of one window into segments at the timestamp tokens.

Follows openai/whisper's `transcribe.py`, but keeps a last segment without an end timestamp. Times count from
the start of the window. Text and words are handled elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from whisper_server.speech.loudness import AudibleFrames
from whisper_server.whisper.transcript import Samples

MIN_SILENT_LEAD_S = 0.3
"""A segment that begins with this much near silence begins with its sound instead. The model's first timestamp is often
0.00 whatever comes first: 20 of 60 cues were 1.0 to 2.8 s early. Timestamps themselves are up to 0.3 s off."""


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


def start_with_sound(spans: Sequence[TokenSpan], samples: Samples) -> tuple[TokenSpan, ...]:
    """The segments of the window `samples`, without the silence that they begin with."""
    audible = AudibleFrames(samples)
    started = []
    for span in spans:
        sound = audible.within(span.start_s, span.end_s)
        is_late = sound is not None and sound[0] - span.start_s >= MIN_SILENT_LEAD_S
        started.append(replace(span, start_s=sound[0]) if sound is not None and is_late else span)
    return tuple(started)
