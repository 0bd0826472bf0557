"""Where a window that has become long is cut: in a pause among its confirmed words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_server.whisper.transcript import Word

KEPT_WORDS = 4
"""Confirmed words that stay in the window when it slides: the next pass finds its place by them."""
MIN_KEPT_S = 4.0
SENTENCE_END_S = 0.5
"""The end of a sentence is a better place than a pause in mid-sentence that is this much longer."""


@dataclass(frozen=True)
class Cut:
    """Where a window may begin later."""

    n_words: int
    """Words that are before it."""
    at_s: float
    """From the start of the window."""


def cut_of(words: Sequence[Word], n_confirmed: int, window_s: float) -> Cut | None:
    """The longest pause among the first `n_confirmed` words of a window of `window_s`, after its first third.

    None without one. A cut in a pause is at its middle.
    """
    best: tuple[float, Cut] | None = None
    for n_before in range(1, min(n_confirmed - KEPT_WORDS, len(words) - 1)):
        end_s, start_s = words[n_before - 1].end_s, words[n_before].start_s
        at_s = (end_s + max(start_s, end_s)) / 2
        if not window_s / 3 <= at_s <= window_s - MIN_KEPT_S:
            continue
        pause_s = start_s - end_s
        if words[n_before - 1].word.endswith((".", "?", "!", "。")):
            pause_s += SENTENCE_END_S
        if best is None or pause_s >= best[0]:
            best = (pause_s, Cut(n_before, at_s))
    return None if best is None else best[1]
