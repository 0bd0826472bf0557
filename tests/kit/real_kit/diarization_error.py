"""Diarization error rate: the share of speech that is missed, invented or of the wrong speaker (NIST Rich Transcription 2009).

No collar, overlaps scored, speakers matched so that the error is least. By frames of 10 ms. Not compared
with pyannote.metrics yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Turns = Sequence[tuple[float, float, str]]
"""(start in s, end in s, speaker)."""


@dataclass(frozen=True)
class DiarizationError:
    """Seconds; `rate` is their sum by the seconds said."""

    missed_s: float
    invented_s: float
    confused_s: float
    said_s: float

    @property
    def rate(self) -> float:
        return (self.missed_s + self.invented_s + self.confused_s) / self.said_s


def diarization_error(said: Turns, found: Turns) -> DiarizationError:
    """What is wrong with `found`."""
    n_frames = max(round(100 * end_s) for _, end_s, _ in [*said, *found]) + 1
    truth, guess = _frames(said, n_frames), _frames(found, n_frames)
    shared = truth.T.astype(np.int64) @ guess.astype(np.int64)
    rows, columns = linear_sum_assignment(-shared)
    n_truth, n_guess = truth.sum(axis=1), guess.sum(axis=1)
    right = int(shared[rows, columns].sum())
    return DiarizationError(
        missed_s=float(np.maximum(n_truth - n_guess, 0).sum()) / 100,
        invented_s=float(np.maximum(n_guess - n_truth, 0).sum()) / 100,
        confused_s=float(np.minimum(n_truth, n_guess).sum() - right) / 100,
        said_s=float(n_truth.sum()) / 100,
    )


def read_rttm(text: str) -> list[tuple[float, float, str]]:
    """The turns of an RTTM file."""
    fields = [line.split() for line in text.splitlines() if line.startswith("SPEAKER")]
    return [(float(one[3]), float(one[3]) + float(one[4]), one[7]) for one in fields]


def _frames(turns: Turns, n_frames: int) -> npt.NDArray[np.bool_]:
    speakers = sorted({speaker for _, _, speaker in turns})
    frames = np.zeros((n_frames, max(1, len(speakers))), np.bool_)
    for start_s, end_s, speaker in turns:
        frames[round(100 * start_s) : round(100 * end_s), speakers.index(speaker)] = True
    return frames
