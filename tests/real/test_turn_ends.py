"""The end-of-turn detector on human voices: prompts that are sentences, and prompts that break off, as another file follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import soxr

from real_kit.speech import LANGUAGES, RATE_HZ, Clip, prompts
from whisper_server.live.session_options import EAGERNESS
from whisper_server.live.turn_ends import PAUSE_SAMPLES
from whisper_server.speech.turn_end import TurnEndDetector
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

BREAKS_OFF_AFTER = {
    "en": "is the of to for at with by are has from have as",
    "es": "es de el la en por con tiene para las",
    "fr": "est de le la à pour dans par sur avez les",
    "it": "è di il la per con in da",
    "ru": "в на с по для и от к из у",
}
"""No sentence ends with these words."""
N_SENTENCES = 20
"""Of each language."""
AUDIBLE = 0.01
"""Of the peak: what is quieter at a prompt's end is cut off."""


def test_sentences_end_turns_and_phrases_that_break_off_do_not(figure: Callable[[str], None]) -> None:
    detector = TurnEndDetector()
    sentences, phrases = [], []
    for language in LANGUAGES:
        chosen = [clip for clip in prompts(language) if clip.text.endswith((".", "!", "?"))]
        sentences += [_probability(detector, clip) for clip in chosen[:N_SENTENCES]]
        phrases += [_probability(detector, clip) for clip in prompts(language, 2, 0.8) if _breaks_off(clip, language)]
    assert len(sentences) == N_SENTENCES * len(LANGUAGES)
    assert len(phrases) >= 30
    for name in ("high", "auto", "low"):
        said = _share(sentences, EAGERNESS[name].turn_end_from), _share(phrases, EAGERNESS[name].turn_end_from)
        figure(
            f"eagerness {name}: turns end at once after {said[0]:.0%} of {len(sentences)} sentences,"
            f" after {said[1]:.0%} of {len(phrases)} phrases that break off"
        )
    assert _share(sentences, EAGERNESS["auto"].turn_end_from) >= 0.9
    assert _share(phrases, EAGERNESS["auto"].turn_end_from) <= 0.35


def _probability(detector: TurnEndDetector, clip: Clip) -> float:
    sound = soxr.resample(clip.sound(), RATE_HZ, SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE * np.abs(sound).max())
    return detector.probability(np.concatenate([sound[: loud[-1] + 1], np.zeros(PAUSE_SAMPLES, np.float32)]))


def _breaks_off(clip: Clip, language: str) -> bool:
    return clip.text.lower().rstrip(": ").split()[-1] in BREAKS_OFF_AFTER[language].split()


def _share(probabilities: Sequence[float], threshold: float) -> float:
    return sum(one >= threshold for one in probabilities) / len(probabilities)
