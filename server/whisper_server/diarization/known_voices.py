"""Which speakers of a recording are known: their voiceprints and those of reference recordings, compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisper_server.diarization.hierarchy import best_pairs
from whisper_server.diarization.local_voices import LocalVoices
from whisper_server.diarization.nets import Voiceprints, unit

MIN_SIMILARITY = 0.4
"""Cosine from which a speaker is the voice of a reference (see bench/RESULTS.md)."""
MIN_VOICE_S = 1.0
"""A second voice of a reference counts from here on; shorter ones are mistakes of the net more often than people."""
MAX_OTHER_SIMILARITY = 0.3
"""Two voices of one window that are nearer to each other are one: the net parts a voice that changes its tone."""


def n_voices(reference: LocalVoices) -> int:
    """How many people speak in a reference of at most 10 s, which is one window or a few."""
    sure = reference.speech_s >= MIN_VOICE_S
    prints = reference.voiceprints[sure & (reference.windows == 0)]
    if not len(prints):
        return 1 if len(reference.voiceprints) else 0
    different: list[int] = [0]
    for index in range(1, len(prints)):
        if all(float(prints[index] @ prints[other]) < MAX_OTHER_SIMILARITY for other in different):
            different.append(index)
    return len(different)


def voiceprint(reference: LocalVoices) -> Voiceprints:
    """The one voice of a reference, shape (192,)."""
    return unit((reference.voiceprints * reference.speech_s[:, None]).sum(axis=0))


def matches(speakers: Voiceprints, references: Sequence[Voiceprints]) -> tuple[tuple[int, int], ...]:
    """(speaker, reference) of each pair that is the same voice; no speaker and no reference is in two pairs."""
    if not len(speakers) or not references:
        return ()
    similarities = speakers @ np.array(references).T
    rows, columns = best_pairs(similarities)
    return tuple(
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if similarities[row, column] >= MIN_SIMILARITY
    )
