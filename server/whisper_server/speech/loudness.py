"""Which parts of a window are audible: louder than near silence, relative to the loudest parts of the window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

FRAME_S = 0.01
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)
SILENCE_BELOW_DB = 35.0
MAX_GAP_FRAMES = 3
"""Of silence within a sound."""


def frame_power(samples: Samples) -> npt.NDArray[np.float32]:
    """The mean square of each whole frame of 10 ms. 30 s take 0.1 ms; with the squares in an array of their own, four times as long."""
    n_frames = len(samples) // FRAME_SAMPLES
    frames = samples[: n_frames * FRAME_SAMPLES].reshape(n_frames, FRAME_SAMPLES)
    power: npt.NDArray[np.float32] = np.einsum("ij,ij->i", frames, frames) / FRAME_SAMPLES
    return power


def smooth_db(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """RMS over 40 ms of the power of each 10 ms, in dBFS. Views that slide over the array take four times as long."""
    four = (power[:-3] + power[1:-2] + power[2:-1] + power[3:]) / 4
    return np.asarray(20.0 * np.log10(np.maximum(np.sqrt(four), 1e-5)))


class AudibleFrames:
    """The audible frames of 10 ms of one window. To find them takes 0.2 ms: less than the way to a thread and back."""

    def __init__(self, samples: Samples) -> None:
        self.n_samples = len(samples)
        self.duration_s = len(samples) / SAMPLE_RATE_HZ
        """Of the window."""
        self.power = frame_power(samples)

    @cached_property
    def _frames(self) -> npt.NDArray[np.intp]:
        loudest = np.quantile(self.power, 0.95) if len(self.power) else 0.0
        return np.flatnonzero(self.power > loudest * 10 ** (-SILENCE_BELOW_DB / 10))

    def run_start_s(self, time_s: float, max_back_s: float) -> float:
        """Where the sound around a time begins; the time itself if that is longer ago (music, noise) or nothing is audible there."""
        frames = self._frames
        index = int(np.searchsorted(frames, time_s / FRAME_S, side="right")) - 1
        if index < 0 or time_s / FRAME_S - frames[index] > MAX_GAP_FRAMES:
            return time_s
        while index and frames[index] - frames[index - 1] <= MAX_GAP_FRAMES:
            index -= 1
        start_s = float(frames[index]) * FRAME_S
        return start_s if time_s - start_s <= max_back_s else time_s

    def within(self, spans_s: Sequence[tuple[float, float]]) -> list[tuple[float, float] | None]:
        """Of each span (start, end): start of the first and end of the last audible frame in it, or None."""
        if not spans_s:
            return []
        bounds = np.searchsorted(
            self._frames, np.asarray(spans_s) / FRAME_S
        ).tolist()  # all at once: 6 µs of Python each
        frames = self._frames
        return [
            (float(frames[first]) * FRAME_S, float(frames[stop - 1] + 1) * FRAME_S) if stop > first else None
            for first, stop in bounds
        ]
