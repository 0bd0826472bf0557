"""A text as units that two passes are compared by: a word, or a character where words are not separated by spaces.

A unit is compared without case and punctuation. The punctuation behind it is apart, because a pass ends its last word with a
full stop wherever the sound ends. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from whisper_server.whisper.languages import WRITTEN_WITHOUT_SPACES, after_text

_CLOSING_MARK = re.compile(r"\s*(?:[.,;:!?…]+(?=\s|$)|[。、，！？：；]+)")
"""Not that of ".NET"."""


class Unit(NamedTuple):  # a frozen dataclass takes twice as long to make, and each pass has some fifty
    """`word` + `mark` of all units, joined, is the text."""

    word: str
    """With the space before it, and with opening punctuation."""
    mark: str
    """The punctuation behind it; may be empty."""

    @property
    def bare(self) -> str:
        """What is compared."""
        return _bare(self.word)

    @property
    def text(self) -> str:
        return self.word + self.mark


@lru_cache(maxsize=64)  # a pass needs its units three times
def split_units(text: str, language: str) -> tuple[Unit, ...]:
    """The units of a text; punctuation alone belongs to the unit before it, or, at the start, to the one after it."""
    pieces = list(text) if language in WRITTEN_WITHOUT_SPACES else re.findall(r"\s*\S+|\s+$", text)
    units: list[Unit] = []
    opening = ""
    for piece in pieces:
        n_kept = len(piece)
        while n_kept and _is_mark(piece[n_kept - 1]):
            n_kept -= 1
        if n_kept:
            units.append(Unit(opening + piece[:n_kept], piece[n_kept:]))
            opening = ""
        elif units:
            units[-1] = Unit(units[-1].word, units[-1].mark + piece)
        else:
            opening += piece
    return tuple(units)


def closing_mark_end(text: str) -> int:
    """Where a mark that ends something, with which the text begins, ends; 0: there is none.

    A model that goes on from "One" says ", two".
    """
    mark = _CLOSING_MARK.match(text)
    return mark.end() if mark else 0


def appended(text: str, language: str) -> str:
    """`text` as what follows other text: with a space where the language has spaces between words, but none before a closing mark."""
    return text.lstrip() if closing_mark_end(text) else after_text(text, language)


def joined(units: Sequence[Unit]) -> str:
    """The text of the units."""
    return "".join(unit.text for unit in units)


def end_of_prefix(prefix: Sequence[str], units: Sequence[str]) -> int:
    """The number of `units` that are best read as another version of the whole of `prefix`; both are bare.

    The end with the least edit distance (Levenshtein, by units); of equal ones the end whose last unit is the prefix's,
    then the longest.
    """
    if list(units[: len(prefix)]) == list(prefix):
        return len(prefix)  # nearly always, and a fiftieth of the work
    row = list(range(len(units) + 1))
    for n_before, wanted in enumerate(prefix, start=1):
        above, row = row, [n_before]
        for index, unit in enumerate(units):
            row.append(min(above[index] + (wanted != unit), above[index + 1] + 1, row[index] + 1))

    def worth(end: int) -> tuple[int, bool, int]:
        ends_alike = bool(prefix) and end > 0 and units[end - 1] == prefix[-1]
        return -row[end], ends_alike, end

    return max(range(len(units) + 1), key=worth)


@lru_cache(maxsize=4096)  # each pass has nearly all words of the one before
def _bare(word: str) -> str:
    return "".join(character for character in word if not _is_mark(character)).casefold()


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    """Punctuation, symbols such as ♪, and space."""
    return unicodedata.category(character)[0] in "PSZC" and character not in "%€$£°+#&@"
