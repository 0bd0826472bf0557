"""Log-mel features of one window on the CPU, the input that Whisper was trained on.

Follows `log_mel_spectrogram` of openai/whisper's `audio.py`. librosa made the mel filters (scripts/make_mel_filters.py), and
the tests hold the features to librosa's within 1e-6; at run time numpy suffices, because importing librosa costs each start
8 s of CPU time and 175 MB. Engines that compute the features elsewhere use its filters and its padding.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_FFT, N_MEL_FRAMES, N_WINDOW_SAMPLES, SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
"""float64: in float32 the weakest bins differ from librosa's by more than 1e-6."""
_FRAMES_PER_BLOCK = 500
"""Frames that are transformed at a time: 5 MB of spectrum instead of 30 MB."""
MIN_PADDED_S = 15
PADDED_STEP_S = 5
PADDING_S = 2


def padded_mel_frames(n_samples: int) -> int:
    """Mel frames that a window without timestamps, or of a live session, is padded to: 15 s, else 2 s more than it has, in steps
    of 5 s; at most 30 s.

    Without timestamps Whisper base hears as much in it as in 30 s: 731 wrong words for 728, of 4,617 in 212 recordings of 1 to 30 s
    in five languages (by language -0.4 to +0.4 points), no word in 112 pieces of music and noise, for 0.33 to 0.65 instead of 0.88
    CPU s of CTranslate2. With timestamps 10 of 34 Spanish recordings get worse even with 27 s, and none better; so of those only
    live windows, which have to be quick, are padded to less. Padded to 5 or 10 s it repeats itself (95 and 63 % of words wrong).
    """
    step_samples = PADDED_STEP_S * SAMPLE_RATE_HZ
    n_seconds = -(-(n_samples + PADDING_S * SAMPLE_RATE_HZ) // step_samples) * PADDED_STEP_S
    return min(N_MEL_FRAMES, max(MIN_PADDED_S, n_seconds) * SAMPLE_RATE_HZ // MEL_HOP_SAMPLES)


def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """The filters, shape (n_mels, N_FFT // 2 + 1). Raises ValueError if `n_mels` is neither 80 nor 128."""
    with resources.files(__package__).joinpath("mel_filters.npz").open("rb") as file, np.load(file) as arrays:
        if f"mel_{n_mels}" not in arrays:
            raise ValueError(f"there are no mel filters with {n_mels} bands, only {', '.join(arrays)}")
        filters: npt.NDArray[np.float32] = arrays[f"mel_{n_mels}"]
        return filters


class LogMel:
    """Computes features with `n_mels` bands. Thread-safe."""

    def __init__(self, n_mels: int) -> None:
        self._filters = mel_filters(n_mels)

    def __call__(self, samples: Samples, n_samples: int = N_WINDOW_SAMPLES) -> npt.NDArray[np.float32]:
        """Features of shape (n_mels, n_samples // 160) of at most `n_samples` of audio, padded with silence."""
        window = np.zeros(n_samples, dtype=np.float32)
        window[: len(samples)] = samples
        mel = self._filters @ _power_spectrum(window)
        log_spec = np.log10(np.maximum(mel, 1e-10))
        floored = np.maximum(log_spec, log_spec.max() - 8.0)
        features: npt.NDArray[np.float32] = ((floored + 4.0) / 4.0).astype(np.float32)
        return features


def _power_spectrum(window: Samples) -> npt.NDArray[np.float32]:
    """Squared magnitudes of the STFT with reflected edges, shape (N_FFT // 2 + 1, a frame for each hop)."""
    n_frames = len(window) // MEL_HOP_SAMPLES
    padded = np.pad(window, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::MEL_HOP_SAMPLES][:n_frames]
    power = np.empty((N_FFT // 2 + 1, n_frames), dtype=np.float32)
    for first in range(0, n_frames, _FRAMES_PER_BLOCK):
        block = slice(first, first + _FRAMES_PER_BLOCK)
        spectrum = np.fft.rfft(frames[block] * _HANN, axis=1).astype(np.complex64)
        power[:, block] = (spectrum.real**2 + spectrum.imag**2).T
    return power
