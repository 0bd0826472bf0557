"""The cues of a subtitle file: segments, and their parts where a segment is longer than two lines or stays too long.

Pure. `formats` writes the cues; the pipeline aligns the words of windows that have a long segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from whisper_server.whisper.transcript import PlacedWord, Segment, Transcript, is_long_cue, placed_words

_SENTENCE_ENDS = ".!?。！？…"
_CLAUSE_ENDS = ",;:，、；："
_SENTENCE_BONUS = 0.35
"""A cut at a sentence's end may be this share of the text away from the middle and still be better than one in the middle."""
_CLAUSE_BONUS = 0.2


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str | None = None
    marked: tuple[int, int] | None = None
    """The characters of the text that are said now."""


def cues(transcript: Transcript) -> Iterator[Cue]:
    """Players want at least one line, no blank ones, and an end after the start."""
    for segment in transcript.segments:
        for start_s, end_s, part in _parts(segment):
            lines = (" ".join(line.split()) for line in part.splitlines())
            text = "\n".join(line for line in lines if line)
            if text:
                start_ms = milliseconds(start_s)
                yield Cue(start_ms, max(milliseconds(end_s), start_ms + 1), text, segment.speaker)


def milliseconds(at_s: float) -> int:
    """Whole milliseconds; 0 for what is no time."""
    return max(0, round(at_s * 1000)) if math.isfinite(at_s) else 0


def seconds(at_s: float) -> float:
    """To the millisecond, as the subtitles have it: binary fractions say nothing more."""
    return milliseconds(at_s) / 1000


def _parts(segment: Segment) -> Iterator[tuple[float, float, str]]:
    """(start, end, text) of each part; all of the segment if it is short, or if its words have no times."""
    words = placed_words(segment)
    cuts = list(_last_words(words, 0, segment.start_s, segment.end_s))
    begins = [0, *(words[index].end for index in cuts), len(segment.text)]
    starts_s = [segment.start_s, *(words[index + 1].word.start_s for index in cuts)]
    ends_s = [*(words[index].word.end_s for index in cuts), segment.end_s]
    for (begin, end), start_s, end_s in zip(pairwise(begins), starts_s, ends_s, strict=True):
        yield start_s, end_s, segment.text[begin:end]


def _last_words(words: Sequence[PlacedWord], begin: int, start_s: float, end_s: float, first: int = 0) -> Iterator[int]:
    """The indices of the words after which the text of `words` is cut: it begins at character `begin`, at word `first`."""
    if len(words) < 2 or not is_long_cue(end_s - start_s, words[-1].end - begin):
        return
    middle, length = (begin + words[-1].end) / 2, words[-1].end - begin

    def distance(index: int) -> float:
        mark = words[index].word.word[-1:]
        bonus = _SENTENCE_BONUS if mark in _SENTENCE_ENDS else _CLAUSE_BONUS if mark in _CLAUSE_ENDS else 0.0
        return abs(words[index].end - middle) / length - bonus

    cut = min(range(len(words) - 1), key=distance)
    left, right = words[: cut + 1], words[cut + 1 :]
    yield from _last_words(left, begin, start_s, left[-1].word.end_s, first)
    yield first + cut
    yield from _last_words(right, left[-1].end, right[0].word.start_s, end_s, first + cut + 1)
