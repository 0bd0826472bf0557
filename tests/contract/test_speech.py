"""The speech that tests send is the same in every run: a failure can be repeated."""

from __future__ import annotations

import numpy as np

from speech_kit.espeak import Voice, speak

BREATHING = Voice("en-us+f2")
"""Its breath is noise that espeak-ng draws by chance."""


def test_the_same_words_sound_the_same_whatever_was_said_before() -> None:
    text = "The train to the city leaves at seven in the morning."
    first = speak(text, BREATHING)
    speak("Something else.", BREATHING)
    speak("Etwas anderes.", Voice("de"))
    again = speak(text, BREATHING)
    assert np.array_equal(first.samples, again.samples)
    assert first.words == again.words
