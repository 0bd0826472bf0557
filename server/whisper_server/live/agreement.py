"""LocalAgreement-2: a word is confirmed when two passes in a row agree on it and on all words before it.

Source: Macháček, Dabre, Bojar: "Turning Whisper into Real-Time Transcription System" (2023), section 3, after Liu et al.:
"Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection" (2020). Own
parts: confirmed words are found again in a pass by edit distance, so no pass needs times of words; punctuation is
confirmed apart from its word; and likely words need one pass, unlikely ones three (`clear_words`). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from whisper_server.live.text_units import Unit, end_of_prefix, joined, split_units

MAX_PASSES_WITHOUT_WORDS = 1
"""After so many in a row two passes are enough for all words, or one that is never heard the same way three times delays the rest of
a sentence, by up to 11 s (45 recordings of people in five languages, Whisper base, on a GPU). With 2, p95 from a word's end to its delta is
1.9 s instead of 1.8, and 13.3 instead of 13.4 % of words are wrong (as files 12.6)."""


@dataclass(frozen=True)
class Confirmed:
    """What a pass confirmed."""

    text: str
    """To be appended to what was confirmed before."""
    start: int
    """Where it begins in the text of the pass, in characters."""
    end: int


class Agreement:
    """The confirmed words of one window that grows, and the rest of the last pass."""

    def __init__(self) -> None:
        self._confirmed: list[Unit] = []
        self._rest: tuple[Unit, ...] = ()
        self._rest_before: tuple[Unit, ...] = ()
        """Of the pass before the last."""
        self._n_passes_without_words = 0
        self._heard: tuple[Unit, ...] = ()

    @property
    def heard(self) -> tuple[Unit, ...]:
        """The last pass's own version of the confirmed words."""
        return self._heard

    @property
    def n_confirmed(self) -> int:
        """Number of units."""
        return len(self._confirmed)

    @property
    def confirmed(self) -> str:
        """The text of the confirmed units, without those that were cut."""
        return joined(self._confirmed)

    def add(
        self, text: str, language: str, *, is_cut: bool = False, n_clear: int = 0, passes_needed: Sequence[int] = ()
    ) -> Confirmed:
        """Take the text of another pass over the window; the words that it confirms, which are at least its first `n_clear` units.

        `passes_needed` (1 to 3, of the first units of the text) is how many passes in a row must hear a unit alike; without it, two. Two
        are enough for all if the last MAX_PASSES_WITHOUT_WORDS confirmed nothing. Where the sound was cut off in mid-speech, neither this
        pass alone nor the next one confirms the last word: half of "withheld" is "we've", in both passes.
        """
        units = split_units(text, language)
        end = end_of_prefix([unit.bare for unit in self._confirmed], [unit.bare for unit in units])
        rest, before = units[end:], self._rest
        n_alike = _n_alike(before, rest)
        n_heard = (len(rest) - is_cut, n_alike, min(n_alike, _n_alike(self._rest_before, rest)))
        most = 2 if self._n_passes_without_words >= MAX_PASSES_WITHOUT_WORDS else 3
        needed = zip(range(len(rest)), chain(passes_needed[end:], repeat(2)), strict=False)
        n_agreed = next((index for index, n_passes in needed if index >= n_heard[min(n_passes, most) - 1]), len(rest))
        new = list(rest[: max(n_agreed, n_clear - end)])
        if new and (len(new) > min(n_agreed, len(before)) or new[-1].mark != before[len(new) - 1].mark):
            # Without its punctuation, unless both passes write the same.
            new[-1] = Unit(new[-1].word, "")
        self._rest = rest
        confirmed = self._confirm(units, end, new, with_mark=bool(new))
        self._rest_before = before[len(new) :]
        self._n_passes_without_words = 0 if new else self._n_passes_without_words + 1
        if is_cut:
            self._rest = self._rest[:-1]
        return confirmed

    def finish(self, text: str, language: str) -> Confirmed:
        """Take the text of the last pass: everything after the confirmed words is confirmed."""
        units = split_units(text, language)
        end = end_of_prefix([unit.bare for unit in self._confirmed], [unit.bare for unit in units])
        self._rest = units[end:]
        return self._confirm(units, end, list(units[end:]), with_mark=True)

    def cut(self, n_units: int) -> str:
        """Forget the first confirmed units, whose sound has left the window; their text."""
        cut, self._confirmed = self._confirmed[:n_units], self._confirmed[n_units:]
        return joined(cut)

    def _confirm(self, units: Sequence[Unit], end: int, new: Sequence[Unit], *, with_mark: bool) -> Confirmed:
        start = len(joined(units[:end]))
        text = joined(new)
        if with_mark and self._confirmed and end and not self._confirmed[-1].mark:
            # Punctuation that was left open: there is a word behind it now, or the turn's end.
            mark = units[end - 1].mark
            self._confirmed[-1] = Unit(self._confirmed[-1].word, mark)
            start, text = start - len(mark), mark + text
        self._confirmed += new
        self._heard = tuple(units[: end + len(new)])
        self._rest = self._rest[len(new) :]
        return Confirmed(text, start, start + len(text))


def _n_alike(before: Sequence[Unit], after: Sequence[Unit]) -> int:
    n_alike = 0
    for one, other in zip(before, after, strict=False):
        if one.bare != other.bare:
            break
        n_alike += 1
    return n_alike
