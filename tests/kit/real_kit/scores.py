"""Words said against words heard, as OpenAI's normalisers write them: errors, words lost and added, sentences lost."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jiwer

from pinned_packages import unpacked
from real_kit.packages import MORE_ITERTOOLS, NORMALIZER
from real_kit.speech import Recording

LOST_SHARE = 0.75
"""A sentence is lost where this share of its words was not heard."""
MIN_WORDS_OF_A_SENTENCE = 3
"""A shorter one may be lost by one word that was misheard."""

_NUMBERS = {
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "ru": "ноль один два три четыре пять шесть семь восемь девять",
}
"""0 to 9. The English normaliser writes numbers as digits, the basic one leaves them: 20 of the 82 errors in an Italian recording were
"uno" for "1"."""


@dataclass(frozen=True)
class Errors:
    """Over any number of recordings; add them up with `+`."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0
    sentences_lost: int = 0

    @property
    def rate(self) -> float:
        return (self.substitutions + self.deletions + self.insertions) / max(1, self.words)

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
            self.sentences_lost + other.sentences_lost,
        )


def normalised(text: str, language: str) -> list[str]:
    """Words as openai/whisper's papers count them: its English normaliser, its basic one for other languages; and 0 to 9."""
    digits = {word: str(number) for number, word in enumerate(_NUMBERS.get(language, "").split())}
    words = str(_normaliser("english" if language == "en" else "basic")(text)).split()
    return [digits.get(word, word) for word in words]


def errors(recording: Recording, heard: str) -> Errors:
    """How far `heard` is from what the recording says."""
    language = recording.language
    # Numbers may grow together over the end of a sentence: the whole counts, as in one text.
    said, words = normalised(recording.text, language), normalised(heard, language)
    if not said:
        return Errors(insertions=len(words))
    if not words:
        return Errors(deletions=len(said), words=len(said), sentences_lost=len(recording.sentences))
    aligned = jiwer.process_words(" ".join(said), " ".join(words))
    return Errors(
        aligned.substitutions,
        aligned.deletions,
        aligned.insertions,
        len(said),
        len(lost_sentences(recording, words)),
    )


def lost_sentences(recording: Recording, heard: Sequence[str]) -> list[str]:
    """Sentences of which most words are missing among `heard`, which is normalised."""
    parts = [normalised(sentence.text, recording.language) for sentence in recording.sentences]
    aligned = jiwer.process_words(" ".join(word for part in parts for word in part), " ".join(heard))
    missing: set[int] = set()
    for chunk in aligned.alignments[0]:
        if chunk.type == "delete":
            missing.update(range(chunk.ref_start_idx, chunk.ref_end_idx))
    lost = []
    first = 0
    for sentence, part in zip(recording.sentences, parts, strict=True):
        n_missing = sum(index in missing for index in range(first, first + len(part)))
        if len(part) >= MIN_WORDS_OF_A_SENTENCE and n_missing >= LOST_SHARE * len(part):
            lost.append(sentence.text)
        first += len(part)
    return lost


@cache
def _normaliser(kind: str) -> Callable[[str], Any]:
    for package in (NORMALIZER, MORE_ITERTOOLS):
        folder = str(unpacked(package))
        if folder not in sys.path:
            sys.path.append(folder)
    module, name = {
        "english": ("whisper_normalizer.english", "EnglishTextNormalizer"),
        "basic": ("whisper_normalizer.basic", "BasicTextNormalizer"),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's docstrings hold invalid escape sequences
        normaliser: Callable[[str], Any] = getattr(importlib.import_module(module), name)()
    return normaliser
