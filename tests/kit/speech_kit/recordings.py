"""Long recordings joined from sentences, with their texts and word times."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from speech_kit.espeak import SAMPLE_RATE_HZ, Samples, SpokenWord, Utterance
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, tone, white_noise

MEL_SOUNDS: Mapping[str, Callable[[], Samples]] = {
    "speech": lambda: spoken("en", 0).samples,
    "noise of 30 s": lambda: white_noise(30.0),
    "tone": lambda: tone(0.1),
    "silence": lambda: silence(1.0),
    "nothing": lambda: silence(0.0),
}
"""What mel features are compared on, by name."""


@dataclass(frozen=True)
class Recording:
    """Utterances in sequence; word times count from the start of the recording."""

    samples: Samples
    words: tuple[SpokenWord, ...]
    texts: tuple[str, ...]
    starts_s: tuple[float, ...]
    """Start of each text."""

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


def join(
    utterances: Iterable[Utterance], *, pause_s: tuple[float, float] = (0.3, 2.0), lead_in_s: float = 0.5, seed: int = 0
) -> Recording:
    """The utterances, separated by seeded pauses of `pause_s`, with digital silence before and after."""
    rng = random.Random(seed)
    pieces = [silence(lead_in_s)]
    n_samples = len(pieces[0])
    words: list[SpokenWord] = []
    texts: list[str] = []
    starts_s: list[float] = []
    for utterance in utterances:
        start_s = n_samples / SAMPLE_RATE_HZ
        words += [SpokenWord(w.text, None if w.start_s is None else start_s + w.start_s) for w in utterance.words]
        texts.append(utterance.text)
        starts_s.append(start_s)
        pause = silence(rng.uniform(*pause_s))
        pieces += [utterance.samples, pause]
        n_samples += len(utterance.samples) + len(pause)
    return Recording(np.concatenate(pieces), tuple(words), tuple(texts), tuple(starts_s))


def fitted(recording: Recording, duration_s: float) -> Recording:
    """The recording, padded with silence to exactly `duration_s`."""
    n_missing = round(duration_s * SAMPLE_RATE_HZ) - len(recording.samples)
    if n_missing < 0:
        raise ValueError(f"{recording.duration_s:.2f} s are longer than {duration_s} s already")
    samples = np.concatenate([recording.samples, np.zeros(n_missing, np.float32)])
    return Recording(samples, recording.words, recording.texts, recording.starts_s)
