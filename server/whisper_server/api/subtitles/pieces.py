"""A transcript's text as pieces without spaces inside, each with its time: the words, or parts of one that is too long.

A segment whose words have no times gets times by the length of its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from wcwidth import iter_graphemes, wcswidth

from whisper_server.whisper.languages import WRITTEN_WITHOUT_SPACES
from whisper_server.whisper.transcript import Segment, placed_words


@dataclass(frozen=True)
class Piece:
    """Text that one line holds; times in seconds."""

    text: str
    has_space: bool
    """Whether a space stands before it."""
    start_s: float
    end_s: float
    width: int
    """Columns."""
    ends_segment: bool = False
    is_rest: bool = False
    """Of a word that was too long for a line."""


def columns(text: str) -> int:
    """How many columns `text` takes; control characters take one."""
    width = wcswidth(text)
    return width if width >= 0 else sum(max(1, wcswidth(character)) for character in text)


def pieces_of(segments: Sequence[Segment], language: str, max_columns: int) -> list[Piece]:
    """All text of `segments`, in order, none of it wider than `max_columns`; the times never go back."""
    pieces: list[Piece] = []
    now_s = 0.0
    for segment in segments:
        parts = [part for timed in _timed_texts(segment) for part in _without_spaces(*timed)]
        for index, (text, has_space, start_s, end_s) in enumerate(parts):
            before_s, now_s = max(now_s, start_s), max(now_s, start_s, end_s)
            starts_segment = index == 0 and language not in WRITTEN_WITHOUT_SPACES
            whole = Piece(text, has_space or starts_segment, before_s, now_s, columns(text))
            pieces += _narrow(whole, max_columns)
        if parts:
            pieces[-1] = replace(pieces[-1], ends_segment=True)
    return pieces


def _timed_texts(segment: Segment) -> Iterator[tuple[str, float, float]]:
    """(text with the space before it, start, end) of each word; all of the segment if its words have no times."""
    words = placed_words(segment)
    if not words or not all(math.isfinite(one.word.start_s + one.word.end_s) for one in words):
        start_s, end_s = (at_s if math.isfinite(at_s) else 0.0 for at_s in (segment.start_s, segment.end_s))
        yield segment.text, start_s, max(start_s, end_s)
        return
    begin = 0
    for index, one in enumerate(words):
        end = one.end if index + 1 < len(words) else len(segment.text)
        yield segment.text[begin:end], one.word.start_s, max(one.word.start_s, one.word.end_s)
        begin = end


def _without_spaces(text: str, start_s: float, end_s: float) -> Iterator[tuple[str, bool, float, float]]:
    """(text, whether a space is before it, start, end): split at spaces, the time shared by length."""
    parts = text.split()
    n_all, n_before = max(1, sum(map(len, parts))), 0
    for index, part in enumerate(parts):
        until = n_before + len(part)
        begin_s, until_s = (start_s + (end_s - start_s) * share / n_all for share in (n_before, until))
        yield part, index > 0 or text[:1].isspace(), begin_s, until_s
        n_before = until


def _narrow(piece: Piece, max_columns: int) -> list[Piece]:
    """The piece, cut between characters as often as it must be; a cut adds no hyphen, so that no text is added."""
    if piece.width <= max_columns:
        return [piece]
    texts = [""]
    for grapheme in iter_graphemes(piece.text):
        if texts[-1] and columns(texts[-1] + grapheme) > max_columns:
            texts.append("")
        texts[-1] += grapheme
    cut_s = [piece.start_s + (piece.end_s - piece.start_s) * n / len(texts) for n in range(len(texts) + 1)]
    return [
        Piece(
            text,
            piece.has_space and index == 0,
            cut_s[index],
            cut_s[index + 1],
            columns(text),
            is_rest=index > 0,
        )
        for index, text in enumerate(texts)
    ]
