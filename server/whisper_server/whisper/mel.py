"""Log-mel features of one window on the CPU, the input that Whisper was trained on.

Follows `log_mel_spectrogram` of openai/whisper's `audio.py`, with librosa. Engines that compute the features
elsewhere do not use it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_FFT, N_WINDOW_SAMPLES, SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples


class LogMel:
    """Computes features with `n_mels` bands. Thread-safe."""

    def __init__(self, n_mels: int) -> None:
        import librosa  # here, because it costs seconds and 240 MB, and not every process needs it

        self._stft = librosa.stft
        self._filters: npt.NDArray[np.float32] = librosa.filters.mel(
            sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=n_mels, dtype=np.float32
        )

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Features of shape (n_mels, 3000) of at most 30 s of audio, padded with silence."""
        padded = np.zeros(N_WINDOW_SAMPLES, dtype=np.float32)
        padded[: len(samples)] = samples
        spectrum = self._stft(padded, n_fft=N_FFT, hop_length=MEL_HOP_SAMPLES, window="hann", pad_mode="reflect")
        power = spectrum.real[:, :-1] ** 2 + spectrum.imag[:, :-1] ** 2
        log_spec = np.log10(np.maximum(self._filters @ power, 1e-10))
        floored = np.maximum(log_spec, log_spec.max() - 8.0)
        features: npt.NDArray[np.float32] = ((floored + 4.0) / 4.0).astype(np.float32)
        return features
