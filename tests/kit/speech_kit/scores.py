"""Compares a transcript with the spoken text: word error rate, word starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from speech_kit.espeak import SpokenWord


def normalised(text: str) -> list[str]:
    """Lower-case words without punctuation, as in the demo model's recipe."""
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


@dataclass(frozen=True)
class WordErrors:
    """Number of edits between transcript and spoken text, over any number of texts."""

    n_edits: int
    n_words: int

    @property
    def rate(self) -> float:
        return self.n_edits / self.n_words

    def __str__(self) -> str:
        return f"WER {self.rate:.1%} ({self.n_edits} of {self.n_words} words)"


def word_errors(said: Sequence[str], heard: Sequence[str]) -> WordErrors:
    """Word errors over pairs of texts."""
    pairs = [(normalised(s), normalised(h)) for s, h in zip(said, heard, strict=True)]
    return WordErrors(sum(Levenshtein.distance(s, h) for s, h in pairs), sum(len(s) for s, _ in pairs))


@dataclass(frozen=True)
class Alignment:
    """Alignment of the spoken words with the transcribed words."""

    matched: tuple[tuple[int, int], ...]
    """(index of the spoken word, index of the transcribed word), equal or substituted."""
    lost: tuple[int, ...]
    """Indices of spoken words that are missing in the transcript."""
    added: tuple[int, ...]
    """Indices of transcribed words that were not spoken."""

    @property
    def n_lost_in_threes(self) -> int:
        """Lost words in a row of three and more: sound is missing. One or two are misheard."""
        lost = set(self.lost)
        return sum(
            any(lost.issuperset(range(first, first + 3)) for first in range(word - 2, word + 1)) for word in lost
        )


def aligned(said: Sequence[str], heard: Sequence[str]) -> Alignment:
    """The alignment with the fewest edits."""
    matched: list[tuple[int, int]] = []
    lost: list[int] = []
    added: list[int] = []
    for op in Levenshtein.opcodes(list(said), list(heard)):
        if op.tag in ("equal", "replace"):
            matched += zip(range(op.src_start, op.src_end), range(op.dest_start, op.dest_end), strict=True)
        elif op.tag == "delete":
            lost += range(op.src_start, op.src_end)
        else:
            added += range(op.dest_start, op.dest_end)
    return Alignment(tuple(matched), tuple(lost), tuple(added))


@dataclass(frozen=True)
class StartErrors:
    """Absolute errors of word starts."""

    errors_s: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        return float(np.mean(self.errors_s))

    def share_within(self, limit_s: float) -> float:
        return float(np.mean(np.asarray(self.errors_s) <= limit_s))

    def __str__(self) -> str:
        p90_s = float(np.quantile(self.errors_s, 0.9))
        share = self.share_within(0.12)
        return f"{len(self.errors_s)} starts: mean {self.mean_s * 1000:.0f} ms, p90 {p90_s * 1000:.0f} ms, {share:.0%} ≤ 120 ms"


def start_errors(said: Sequence[SpokenWord], heard: Sequence[tuple[str, float]]) -> StartErrors:
    """Over the correctly transcribed words for which espeak-ng has an event."""
    said_words = ["".join(normalised(word.text)) for word in said]
    heard_words = ["".join(normalised(word)) for word, _ in heard]
    errors_s = []
    for said_index, heard_index in aligned(said_words, heard_words).matched:
        start_s = said[said_index].start_s
        if said_words[said_index] == heard_words[heard_index] and start_s is not None:
            errors_s.append(abs(heard[heard_index][1] - start_s))
    return StartErrors(tuple(errors_s))
