"""Which parts of a window are audible: louder than near silence, relative to the loudest parts of the window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

FRAME_S = 0.01
SILENCE_BELOW_DB = 35.0


class AudibleFrames:
    """The audible frames of 10 ms of one window."""

    def __init__(self, samples: Samples) -> None:
        n_frame_samples = round(FRAME_S * SAMPLE_RATE_HZ)
        n_frames = len(samples) // n_frame_samples
        frames = samples[: n_frames * n_frame_samples].reshape(n_frames, n_frame_samples)
        power = np.square(frames).mean(axis=1)
        loudest = np.quantile(power, 0.95) if n_frames else 0.0
        self._frames: npt.NDArray[np.intp] = np.flatnonzero(power > loudest * 10 ** (-SILENCE_BELOW_DB / 10))

    def within(self, start_s: float, end_s: float) -> tuple[float, float] | None:
        """Start of the first and end of the last audible frame from `start_s` to `end_s`, or None."""
        first, stop = np.searchsorted(self._frames, (start_s / FRAME_S, end_s / FRAME_S))
        if stop <= first:
            return None
        return float(self._frames[first]) * FRAME_S, float(self._frames[stop - 1] + 1) * FRAME_S
