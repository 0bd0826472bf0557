"""Which words one pass confirms, and which ones need a third pass.

A word is sent at once if its sound ends well before the window's end. Where a word attends, by the cross-attention, far from the end
of the sound, more sound seldom changes it. Source: Papi, Turchi, Negri: "AlignAtt: Using Attention-based Audio-Translation
Alignments as a Guide for Simultaneous Speech Translation" (2023), section 3; here by the words' ends of the alignment that word
times come from. Own part: a word that the model itself finds likely needs one pass, an unlikely one three. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from whisper_server.live.text_units import split_units
from whisper_server.speech.live_windows import MIN_HEARD_PROBABILITY
from whisper_server.whisper.transcript import WindowTranscript

CLEAR_S = 0.9
"""From the end of a word to that of the window, for a word of at least MIN_PROBABILITY. With 0.7 s words come 0.12 s earlier (p50,
Whisper base in five languages), but 17.2 % of them are wrong instead of 16.6 (as a file 15.9)."""
MIN_PROBABILITY = 0.7
"""Mean of its tokens, with their text known. A word below it is not clear, and needs three passes."""
MIN_TOKEN_PROBABILITY = 0.5
"""Of the least likely token of a word that needs two passes only. On a GPU 14.3 instead of 14.9 % of words are wrong by it, 1.16 instead
of 1.09 s late (p50; p95 2.5 instead of 2.1 s), and 16.0 instead of 16.3 %, 1.92 instead of 1.77 s at a CPU's speed by MIN_PROBABILITY: 45
and 20 recordings of people in five languages, Whisper base, as files 12.7 and 14.0 %. If all words need three passes: 14.1 %, 1.63 s."""
LIKELY = 0.8
"""From this mean on one pass is enough for a word, unless the sound is cut off in it. With it, one pass from the limits above on in a pause,
and two passes for all words after one without any (`agreement`), words are 1.42 s late on a CPU (p50; p95 2.6), and 14.5 % are wrong; with
0.85, two passes in a pause, and two without words 1.51 s (2.8), 14.4 %; if all words need two passes 1.79 s (2.7), 14.7 %. If the last word
of sound that is cut off needs one pass from 0.95 on, more words are wrong: half of "withheld" is "we've"."""
LIKELY_TOKEN = 0.7
"""The same for the least likely token, on a GPU: from 0.8 on words are 0.74 s late (p50; p95 1.8), and 13.4 % are wrong; from 0.7 on, and
three passes only below 0.3, 0.67 s (1.6) and 13.6 %; if all words need two passes 1.08 s (1.9), 13.5 %. Where passes take 0.2 s, words are
0.12 s earlier (p95) with 0.7."""
FAR_S = 1.8
"""The same distance for all other words that are in the sound (MIN_HEARD_PROBABILITY). Without it a word that two passes hear
differently delays all later words: p95 is 4.3 s instead of 2.6 s."""


def n_clear_units(transcript: WindowTranscript, window_s: float) -> int:
    """How many units of the pass, from its start, are clear of the end of its window; 0 where it has no times of words."""
    n_letters = 0
    for word in transcript.words:
        if word.least_probability < MIN_HEARD_PROBABILITY:
            break
        if word.end_s > window_s - (CLEAR_S if word.probability >= MIN_PROBABILITY else FAR_S):
            break
        n_letters += len(letters(word.word))
    units = split_units(transcript.text, transcript.language) if n_letters else ()
    return n_within([len(letters(unit.text)) for unit in units], n_letters)


def passes_needed(transcript: WindowTranscript, *, is_cut: bool) -> tuple[int, ...]:
    """How many passes must hear each unit of the pass alike, 1 to 3; empty where no probability is known.

    In a pause (not `is_cut`) the words are whole: one is enough from the limit on, two for all. The next words seldom change them, and
    if there are none, this pass is the last one anyway.
    """
    units = [unit.text for unit in split_units(transcript.text, transcript.language)]
    if transcript.logprobs:
        n_bytes = [len(unit.encode()) for unit in units]
        parts = [(len(token.bytes), math.exp(token.logprob)) for token in transcript.logprobs]
        limit, likely = MIN_TOKEN_PROBABILITY, LIKELY_TOKEN
    else:
        words = transcript.words
        n_bytes = [len(letters(unit).encode()) for unit in units]
        parts = [(len(letters(word.word).encode()), word.probability) for word in words]
        limit, likely = MIN_PROBABILITY, LIKELY
    enough, n_unlikely = (likely, 3) if is_cut else (limit, 2)
    return tuple(1 if p >= enough else n_unlikely if p < limit else 2 for p in _least(n_bytes, parts))


def _least(lengths: Sequence[int], parts: Sequence[tuple[int, float]]) -> list[float]:
    """Of stretches of a text, of these lengths, the least value of the parts (length, value) that overlap each; those without one are left out."""
    least: list[float] = []
    index = part_end = stretch_end = 0
    for length in lengths:
        stretch_end += length
        values: list[float] = []
        while index < len(parts) and part_end < stretch_end:
            part_end += parts[index][0]
            values.append(parts[index][1])
            index += 1
        if part_end > stretch_end:  # the last part reaches into the next stretch
            index, part_end = index - 1, part_end - parts[index - 1][0]
        if not values:
            break
        least.append(min(values))
    return least


def n_within(lengths: Sequence[int], n_letters: int) -> int:
    """How many whole items, of these lengths, the first `n_letters` make."""
    return sum(total <= n_letters for total in accumulate(lengths))


def letters(text: str) -> str:
    """The text without spaces: words and units divide it in different ways."""
    return "".join(text.split())
