"""The language of a recording, from the probabilities of up to three windows, and that of a window in which it changes.

openai/whisper takes the first 30 s, whatever is in them. One window must not decide about a recording of an hour, so the
next windows with speech are heard too while the language is unsure. Pure: this module does not detect.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from whisper_server.errors import BadRequest
from whisper_server.whisper.engine_protocol import LanguageGuess
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples

MIN_PROBABILITY = 0.5
"""Below this mean probability the next window with speech is heard too (faster-whisper's
`language_detection_threshold`)."""
MAX_WINDOWS = 3
MIN_CHANGE_PROBABILITY = 0.8
"""A window is in another language than the recording from this probability on. Whisper base on 100 prompts of 1.5 to 30 s in
five languages: 96 are guessed right (median 0.99), the wrong guesses reach 0.49; on 82 pieces of music, 0.54."""
MIN_CHANGE_S = 1.5
"""Shorter windows are in the recording's language: of 60 single words 25 are guessed wrong, three of them with 0.8 to 0.92."""
SILENCE_LANGUAGE = "en"
"""Language of a recording without words: what a model guesses from silence or noise has no meaning (Whisper base: Welsh)."""
MAX_DITHER_PEAK = 2**-12
"""Eight steps of 16 bits. Dithered silence reaches four (-78 dBFS); at -40 dB the quietest of 2,780 real recordings reaches 17. In
Welsh Whisper base repeats itself in dither up to the limit of 224 tokens a window, in English it writes three."""


class LanguageVote:
    """The mean probability of each candidate over the windows heard so far."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self._sums = dict.fromkeys(candidates, 0.0)
        self._n_windows = 0

    def add(self, guess: LanguageGuess) -> None:
        """Count one window."""
        for code, probability in _among(guess, self._sums).items():
            self._sums[code] += probability
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


def language_of_window(guess: LanguageGuess, recording_language: str, candidates: Collection[str]) -> str:
    """The recording's language, unless the window is clearly in another one of the candidates."""
    probabilities = _among(guess, candidates)
    likeliest = max(probabilities, key=lambda code: probabilities[code], default=recording_language)
    return likeliest if probabilities.get(likeliest, 0.0) >= MIN_CHANGE_PROBABILITY else recording_language


def is_dither(samples: Samples) -> bool:
    """Whether there is nothing but silence and what rounding to 16 bits adds to it."""
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0))) <= MAX_DITHER_PEAK


def _among(guess: LanguageGuess, candidates: Collection[str]) -> dict[str, float]:
    """The probabilities among the candidates; they sum to 1."""
    probabilities = {code: p for code, p in guess.probabilities if code in candidates}
    total = sum(probabilities.values())
    return {code: p / total if total else 0.0 for code, p in probabilities.items()}


def check_languages(tokenizer: WhisperTokenizer, options: Options) -> None:
    """Raises BadRequest for a language that the model lacks."""
    known = tokenizer.languages
    for param, code in (("language", options.language), *(("languages", code) for code in options.languages)):
        if code is not None and code not in known:
            raise BadRequest(
                f"This model does not know the language {code!r}; it knows {', '.join(sorted(known))}.", param=param
            )
