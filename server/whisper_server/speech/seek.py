"""Where decoding goes on in a window whose text ends before its speech does.

openai/whisper and faster-whisper set `seek` to the last timestamp and decode the next 30 s from there. Windows here
are cut before, in pauses, so only the rest of the window is decoded again. Pure functions: this module does not
decode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from whisper_server.speech.vad import Spans
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.languages import after_text
from whisper_server.whisper.transcript import Segment, VoiceActivity, WindowTranscript

MIN_REST_S = 1.0
"""A shorter rest after the last timestamp is not decoded again, unless the model opened a segment in it. Windows end
in half a pause: the last 0.2 to 1.2 s are silence."""
MIN_OPENED_REST_S = 0.5
"""The same, if the model opened a segment and did not write it."""
MIN_UNHEARD_S = 0.3
"""Minimum speech after the text's end. Timestamps are up to 0.5 s off; the shortest words last for 0.3 s."""
MAX_TAIL_S = 0.6
"""Speech that runs on across the text's end for no longer is the rest of the last word, whose timestamp is early. Ten recordings of
people, Whisper base, five languages: every rest with words has 2.2 s of speech and more; three of 0.3 to 0.5 s gave nothing, or an
invented " most."."""
MAX_LATE_S = 1.0
"""A timestamp may be this much later than the start of the next speech: 0.5 s in two of five windows that were
decoded again, which cost them their first word ("Please hold" became "Hold")."""
LOOK_BACK_S = 1.5
"""Seconds before the text's end that the voice detector gets too, to find where the speech around it begins."""

MIN_TOKENS_PER_S = 1.5
"""Tokens of text per second of speech. Of 360 windows of Whisper base and tiny.en, in five languages, three have less, 0.5 to 1.0
per second of sound, and lost one to three sentences; all others have 1.9 and more."""
MIN_CHECKED_S = 5.0
"""Shorter windows have a word or a sentence, and end with it."""


@dataclass(frozen=True)
class TextEnd:
    """The last segment of a window's text, in seconds from the start of the window."""

    end_s: float
    """The last timestamp."""
    opens_segment: bool
    """The tokens end in a pair of timestamps: the model opened another segment, and wrote nothing in it."""
    start_s: float = 0.0


@dataclass(frozen=True)
class Seek:
    """Where to decode again."""

    sample: int
    """From the start of the window."""
    is_in_speech: bool
    """Speech runs on across `sample`, so that a word may be heard on both sides."""


def text_end(tokens: Sequence[int], timestamp_s: Callable[[int], float | None], duration_s: float) -> TextEnd | None:
    """Where the text of a window of `duration_s` seconds ends, if enough of the window is left to decode it again.

    None if text follows the last timestamp: then the text reaches the end of the window. `timestamp_s` returns the
    seconds of a timestamp token and None for any other token.
    """
    last_s = timestamp_s(tokens[-1]) if tokens else None
    if last_s is None:
        return None
    before_s = timestamp_s(tokens[-2]) if len(tokens) > 1 else None
    opens_segment = before_s is not None and len(tokens) > 2
    end_s = last_s if before_s is None else min(before_s, last_s)
    left_s = duration_s - end_s
    before = tokens[: -1 if before_s is None else -2]
    start_s = next((time_s for time_s in map(timestamp_s, reversed(before)) if time_s is not None), 0.0)
    end = TextEnd(end_s, opens_segment, min(start_s, end_s))
    return end if left_s >= (MIN_OPENED_REST_S if opens_segment else MIN_REST_S) else None


def look_back_sample(end: TextEnd) -> int:
    """First sample of the window that the voice detector needs for `next_seek`."""
    return max(0, round(min(end.start_s, end.end_s - LOOK_BACK_S) * SAMPLE_RATE_HZ))


def next_seek(end: TextEnd, spans: Spans) -> Seek | None:
    """Where to decode again, or None if there is no speech after the text.

    `spans` are the voice detector's, as samples of the window, of the sound from `look_back_sample` on. Speech that
    begins shortly before the text's end is the next sentence and is decoded from its start; speech that runs on from
    before is decoded from the text's end. Where the last segment has no speech at its time, its words are the next
    speech: after pauses of 8 s and more the model's timestamps are up to 2 s early, and a sentence came out twice.
    """
    end_sample = round(end.end_s * SAMPLE_RATE_HZ)
    max_late = round(MAX_LATE_S * SAMPLE_RATE_HZ)
    padding = round(VoiceActivity.silence_duration_ms / 1000 * SAMPLE_RATE_HZ)
    unheard = [span for span in spans if span[1] - padding >= end_sample + MIN_UNHEARD_S * SAMPLE_RATE_HZ]
    if not _has_speech(spans, round(end.start_s * SAMPLE_RATE_HZ), end_sample):
        unheard = unheard[1:]
    if not unheard or not end_sample:
        return None
    start = unheard[0][0]
    # Not from the first second of the window, so that each rest is shorter than the one before.
    earliest = max(0, round((end.end_s - LOOK_BACK_S) * SAMPLE_RATE_HZ))
    if start > max(earliest, end_sample - max_late, max_late):
        return Seek(start, is_in_speech=start < end_sample)
    n_unheard = sum(stop - padding - max(first, end_sample) for first, stop in unheard)
    return Seek(end_sample, is_in_speech=True) if n_unheard > MAX_TAIL_S * SAMPLE_RATE_HZ else None


def is_too_short(n_tokens: int, speech_s: float) -> bool:
    """Whether a text of so many tokens leaves out some of `speech_s` seconds of speech."""
    return speech_s >= MIN_CHECKED_S and 0 < n_tokens < MIN_TOKENS_PER_S * speech_s


def speech_s(spans: Spans) -> float:
    """Seconds of speech in the voice detector's spans, without their padding."""
    padding_s = (VoiceActivity.prefix_padding_ms + VoiceActivity.silence_duration_ms) / 1000
    return sum(max(0.0, (stop - start) / SAMPLE_RATE_HZ - padding_s) for start, stop in spans)


def _has_speech(spans: Spans, start: int, end: int) -> bool:
    """Whether a word's length of the spans, without their padding, is between two samples of the window."""
    prefix, suffix = VoiceActivity.prefix_padding_ms, VoiceActivity.silence_duration_ms
    per_ms = SAMPLE_RATE_HZ // 1000
    heard = (min(stop - suffix * per_ms, end) - max(first + prefix * per_ms, start) for first, stop in spans)
    return sum(max(0, n_samples) for n_samples in heard) >= MIN_UNHEARD_S * SAMPLE_RATE_HZ


def joined(parts: Sequence[WindowTranscript], language: str) -> WindowTranscript:
    """The parts of one window as one transcript, written in `language`.

    A part ends where the next one begins: `next_seek` may have gone back behind the last timestamp.
    """
    if len(parts) == 1:
        return parts[0]
    first, rest = parts[:1], parts[1:]
    segments: list[Segment] = []
    for part in parts:
        if segments and part.segments:
            segments = [_until(one, part.segments[0].start_s) for one in segments]
        segments += part.segments
    return WindowTranscript(
        text="".join([*(part.text for part in first), *(after_text(part.text, language) for part in rest)]),
        segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
        logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
        n_output_tokens=sum(part.n_output_tokens for part in parts),
    )


def _until(segment: Segment, end_s: float) -> Segment:
    """The segment and its words, no later than `end_s`."""
    words = tuple(
        replace(word, start_s=min(word.start_s, end_s), end_s=min(word.end_s, end_s)) for word in segment.words
    )
    return replace(segment, start_s=min(segment.start_s, end_s), end_s=min(segment.end_s, end_s), words=words)
