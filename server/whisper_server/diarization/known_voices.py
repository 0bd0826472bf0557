"""Which speakers of a recording are known: their voiceprints and those of reference recordings, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisper_server.diarization.hierarchy import WardTree, best_pairs
from whisper_server.diarization.local_voices import LocalVoices, local_voices
from whisper_server.diarization.nets import FRAME_SAMPLES, SpeakerNets, Voiceprints, unit
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

MIN_SIMILARITY = 0.46
"""Cosine from which a speaker is the voice of a reference. Set on the ten tuning voices of `bench/diarization.py`, each pair
compared without those two in the mean of `nets`: 3.0 % of the pairs of one voice are below, 1.5 % of the others above."""
MIN_VOICE_S = 1.0
"""A second voice of a reference counts from here on; shorter ones are mistakes of the net more often than people."""
MIN_STRETCH_S = 0.5
"""Shorter stretches say too little of a voice."""
MAX_OTHER_SIMILARITY = 0.4
"""A reference's stretches are two voices if their halves are less alike. The tuning voices: 35 of 40 references of two voices are
seen, 1 of 60 of one voice is taken for two. The testing voices: 25 of 40, and none of 54."""
TELEPHONE_HZ = (3600, 4000)
"""A telephone's highest frequency; the sound fades between the two."""
_PIECE_SAMPLES = 80_000


@dataclass(frozen=True)
class Reference:
    """A recording of a voice that has a name."""

    n_voices: int
    """People who speak in it; the rest counts if it is one."""
    voiceprints: Voiceprints
    """As it was sent and as a telephone has it, shape (2, 192): a wideband reference and a telephone call by one voice are
    compared at 0.43 on average, both by telephone at 0.60; other voices reach 0.29 in 1 % of the pairs."""


def reference_of(nets: SpeakerNets, sound: Samples) -> Reference:
    """How a reference of at most 10 s sounds."""
    heard = [_heard(nets, one) for one in (sound, telephone_band(sound))]
    return Reference(n_voices(heard[0]), np.array([voiceprint(one) for one in heard if len(one.voiceprints)]))


def telephone_band(sound: Samples) -> Samples:
    """The sound without what a telephone leaves out above."""
    spectrum = np.fft.rfft(sound)
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)
    kept = np.interp(frequencies_hz, TELEPHONE_HZ, (1, 0))
    narrow: Samples = np.fft.irfft(spectrum * kept, len(sound)).astype(np.float32)
    return narrow


def n_voices(reference: LocalVoices) -> int:
    """How many people speak in a reference of at most 10 s: none, one, or two for more than one."""
    if not len(reference.voiceprints):
        return 0
    stretches = reference.stretches
    lengths_s = (stretches.frames[:, 1] - stretches.frames[:, 0]) * FRAME_SAMPLES / SAMPLE_RATE_HZ
    sure = np.flatnonzero((reference.windows[stretches.of_voiceprint] == 0) & (lengths_s >= MIN_STRETCH_S))
    if len(sure) < 2:
        return 1
    halves = WardTree.of(stretches.voiceprints[sure]).cut_into(2)
    sums = [(stretches.voiceprints[sure] * lengths_s[sure, None])[halves == half].sum(axis=0) for half in (0, 1)]
    first, second = unit(np.array(sums))
    is_long = np.bincount(halves, lengths_s[sure]).min() >= MIN_VOICE_S
    return 2 if is_long and float(first @ second) < MAX_OTHER_SIMILARITY else 1


def voiceprint(reference: LocalVoices) -> Voiceprints:
    """The one voice of a reference, shape (192,)."""
    return unit((reference.voiceprints * reference.speech_s[:, None]).sum(axis=0))


def matches(speakers: Voiceprints, references: Sequence[Voiceprints]) -> tuple[tuple[int, int], ...]:
    """(speaker, reference) of each pair that is the same voice; no speaker and no reference is in two pairs.

    A reference has several voiceprints, shape (n, 192); the one that is most like the speaker counts.
    """
    if not len(speakers) or not references:
        return ()
    similarities = np.stack([(speakers @ prints.T).max(axis=1) for prints in references], axis=1)
    # A pair that is not the same voice has no say about the others.
    similar = np.where(similarities >= MIN_SIMILARITY, similarities, np.float32(0))
    pairs = zip(*best_pairs(similar), strict=True)
    return tuple((int(row), int(column)) for row, column in pairs if similar[row, column])


def _heard(nets: SpeakerNets, sound: Samples) -> LocalVoices:
    return local_voices(nets, (sound[first : first + _PIECE_SAMPLES] for first in range(0, len(sound), _PIECE_SAMPLES)))
