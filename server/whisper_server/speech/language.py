"""The language of a recording, from the probabilities of up to three windows.

openai/whisper takes the first 30 s, whatever is in them. One window must not decide about a recording of an hour, so the
next windows with speech are heard too while the language is unsure. Pure: this module does not detect.
"""

from __future__ import annotations

from collections.abc import Sequence

from whisper_server.whisper.engine_protocol import LanguageGuess

MIN_PROBABILITY = 0.5
"""Below this mean probability the next window with speech is heard too (faster-whisper's
`language_detection_threshold`)."""
MAX_WINDOWS = 3


class LanguageVote:
    """The mean probability of each candidate over the windows heard so far."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self._sums = dict.fromkeys(candidates, 0.0)
        self._n_windows = 0

    def add(self, guess: LanguageGuess) -> None:
        """Count one window. Probabilities are those among the candidates."""
        probabilities = {code: p for code, p in guess.probabilities if code in self._sums}
        total = sum(probabilities.values())
        for code, probability in probabilities.items():
            self._sums[code] += probability / total if total else 0.0
        self._n_windows += 1

    @property
    def language(self) -> str:
        """The likeliest candidate."""
        return max(self._sums, key=lambda code: self._sums[code])

    @property
    def is_decided(self) -> bool:
        """Whether no further window is needed."""
        if len(self._sums) == 1 or self._n_windows >= MAX_WINDOWS:
            return True
        return self._n_windows > 0 and self._sums[self.language] >= MIN_PROBABILITY * self._n_windows
