"""Words of one pass that are sent without a second pass, and those that wait for a third one.

A word is sent at once if its sound ends well before the window's end. Where a word attends, by the cross-attention, far from the end
of the sound, more sound seldom changes it. Source: Papi, Turchi, Negri: "AlignAtt: Using Attention-based Audio-Translation
Alignments as a Guide for Simultaneous Speech Translation" (2023), section 3; here by the words' ends of the alignment that word
times come from. Own part: a word that the model itself finds unlikely waits, though two passes agree on it. Pure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import accumulate

from whisper_server.live.text_units import split_units
from whisper_server.whisper.transcript import WindowTranscript

CLEAR_S = 0.9
"""From the end of a word to that of the window, for a word of at least MIN_PROBABILITY. With 0.7 s words come 0.12 s earlier (p50,
Whisper base in five languages), but 17.2 % of them are wrong instead of 16.6 (as a file 15.9)."""
MIN_PROBABILITY = 0.7
"""Mean of its tokens, with their text known. A word below it is neither clear nor sure."""
MIN_TOKEN_PROBABILITY = 0.5
"""Of the least likely token of a sure word. On a GPU 14.3 instead of 14.9 % of words are wrong by it, 1.16 instead of 1.09 s late (p50;
p95 2.5 instead of 2.1 s), and 16.0 instead of 16.3 %, 1.92 instead of 1.77 s at a CPU's speed by MIN_PROBABILITY: 45 and 20 recordings of
people in five languages, Whisper base, as files 12.7 and 14.0 %. If all words wait for a third pass: 14.1 %, 1.63 s."""
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


def sure_units(transcript: WindowTranscript) -> tuple[bool, ...]:
    """Whether two passes are enough for each unit of the pass; empty where they are for all, as far as it is known."""
    if transcript.logprobs:
        likely = math.log(MIN_TOKEN_PROBABILITY)
        spans = _unlikely([(len(token.bytes), token.logprob < likely) for token in transcript.logprobs])
        units = [unit.text for unit in split_units(transcript.text, transcript.language)] if spans else []
    else:
        words = [word for segment in transcript.segments for word in segment.words]
        spans = _unlikely([(len(letters(word.word).encode()), word.probability < MIN_PROBABILITY) for word in words])
        units = [letters(unit.text) for unit in split_units(transcript.text, transcript.language)] if spans else []
    stops = [0, *accumulate(len(unit.encode()) for unit in units)]
    return tuple(
        not any(first < stop and start < end for first, end in spans) for start, stop in itertools.pairwise(stops)
    )


def _unlikely(parts: Sequence[tuple[int, bool]]) -> list[tuple[int, int]]:
    """(start, end), in bytes of UTF-8, of the parts of a text that are unlikely; each part is its length and whether it is."""
    ends = accumulate(n_bytes for n_bytes, _ in parts)
    return [(end - n_bytes, end) for end, (n_bytes, is_unlikely) in zip(ends, parts, strict=True) if is_unlikely]


def n_within(lengths: Sequence[int], n_letters: int) -> int:
    """How many whole items, of these lengths, the first `n_letters` make."""
    return sum(total <= n_letters for total in accumulate(lengths))


def letters(text: str) -> str:
    """The text without spaces: words and units divide it in different ways."""
    return "".join(text.split())
