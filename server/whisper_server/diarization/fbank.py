"""Log-mel filter banks as Kaldi computes them, the input of the voiceprint net.

Follows `compute-fbank-feats` of Kaldi (feat/feature-fbank.cc, feat/mel-computations.cc) with 80 bins, no dither and the povey
window. The tests hold it to kaldi-native-fbank's within 0.001. Whisper's own mel features are others (`whisper.mel`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

N_BANDS = 80
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
_N_FFT = 512
_LOWEST_HZ = 20.0
_PRE_EMPHASIS = np.float32(0.97)
_INT16_SCALE = np.float32(32768)
"""Kaldi reads 16-bit samples as whole numbers."""
_FLOOR = np.finfo(np.float32).eps

Features = npt.NDArray[np.float32]


class FilterBank:
    """The window and the mel filters, computed once."""

    def __init__(self) -> None:
        ramp = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / (FRAME_SAMPLES - 1))
        self._window = (ramp**0.85).astype(np.float32)
        self._filters = _mel_filters()

    def features(self, samples: Samples) -> Features:
        """Frames of 25 ms every 10 ms, shape (n_frames, 80); none for less than one frame."""
        n_frames = max(0, 1 + (len(samples) - FRAME_SAMPLES) // HOP_SAMPLES)
        if not n_frames:
            return np.empty((0, N_BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples * _INT16_SCALE, FRAME_SAMPLES)
        rows = frames[::HOP_SAMPLES][:n_frames]
        rows = rows - rows.mean(axis=1, keepdims=True)
        emphasized = rows * np.float32(1)
        emphasized[:, 1:] -= _PRE_EMPHASIS * rows[:, :-1]
        emphasized[:, 0] -= _PRE_EMPHASIS * rows[:, 0]
        spectrum = np.fft.rfft(emphasized * self._window, _N_FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        logs: Features = np.log(np.maximum(power @ self._filters, _FLOOR)).astype(np.float32)
        return logs


def _mel_filters() -> npt.NDArray[np.float32]:
    """Triangles in mel, shape (257, 80); Kaldi leaves the last bin, 8 kHz, out."""
    lowest, highest = _mel(np.array(_LOWEST_HZ)), _mel(np.array(SAMPLE_RATE_HZ / 2))
    edges = np.linspace(lowest, highest, N_BANDS + 2)
    bins = _mel(np.arange(_N_FFT // 2) * SAMPLE_RATE_HZ / _N_FFT)[:, None]
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    filters = np.maximum(0, np.minimum((bins - left) / (center - left), (right - bins) / (right - center)))
    padded: npt.NDArray[np.float32] = np.concatenate([filters, np.zeros((1, N_BANDS))]).astype(np.float32)
    return padded


def _mel(frequency_hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1127 * np.log(1 + frequency_hz / 700)
