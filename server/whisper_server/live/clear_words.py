"""Words of one pass that are sent without a second pass: those whose sound ends well before the window's end.

Where a word attends, by the cross-attention, far from the end of the sound, more sound seldom changes it. Source: Papi, Turchi,
Negri: "AlignAtt: Using Attention-based Audio-Translation Alignments as a Guide for Simultaneous Speech Translation" (2023),
section 3; here by the words' ends of the alignment that word times come from. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from whisper_server.live.text_units import split_units
from whisper_server.whisper.transcript import WindowTranscript

CLEAR_S = 0.9
"""From the end of a word to that of the window, for a word of at least MIN_PROBABILITY. With 0.7 s words come 0.12 s earlier (p50,
Whisper base in five languages), but 17.2 % of them are wrong instead of 16.6 (as a file 15.9)."""
MIN_PROBABILITY = 0.5
FAR_S = 1.8
"""The same distance for all other words. Without it a word that two passes hear differently delays all later words: p95 is 4.3 s
instead of 2.6 s."""


def n_clear_units(transcript: WindowTranscript, window_s: float) -> int:
    """How many units of the pass, from its start, are clear of the end of its window; 0 where it has no times of words."""
    n_letters = 0
    for word in (word for segment in transcript.segments for word in segment.words):
        if word.end_s > window_s - (CLEAR_S if word.probability >= MIN_PROBABILITY else FAR_S):
            break
        n_letters += len(letters(word.word))
    units = split_units(transcript.text, transcript.language) if n_letters else ()
    return n_within([len(letters(unit.text)) for unit in units], n_letters)


def n_within(lengths: Sequence[int], n_letters: int) -> int:
    """How many whole items, of these lengths, the first `n_letters` make."""
    return sum(total <= n_letters for total in accumulate(lengths))


def letters(text: str) -> str:
    """The text without spaces: words and units divide it in different ways."""
    return "".join(text.split())
