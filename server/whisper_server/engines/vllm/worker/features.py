"""Log-mel features of a whole batch of windows, on the device that the model runs on.

Follows `log_mel_spectrogram` of openai/whisper's `audio.py`, as `whisper_server.whisper.mel` does on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_FFT, N_WINDOW_SAMPLES, SAMPLE_RATE_HZ


class BatchLogMel:
    """Features of windows, (n_windows, n_mels, 3000)."""

    def __init__(self, n_mels: int, device: torch.device) -> None:
        filters = mel_filter_bank(
            num_frequency_bins=1 + N_FFT // 2,
            num_mel_filters=n_mels,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE_HZ / 2,
            sampling_rate=SAMPLE_RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        self._filters = torch.from_numpy(np.ascontiguousarray(filters.T)).to(device, torch.float32)
        self._hann = torch.hann_window(N_FFT, device=device)

    def __call__(self, windows: Sequence[torch.Tensor] | torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Of 16-bit samples, not padded."""
        padded = torch.zeros((len(windows), N_WINDOW_SAMPLES), dtype=torch.float32, device=self._hann.device)
        if isinstance(windows, torch.Tensor):
            padded[:, : windows.shape[1]] = windows
        else:
            for row, window in zip(padded, windows, strict=True):
                row[: len(window)] = window
        padded *= scales.to(padded).view(-1, 1)
        spectrum = torch.stft(padded, N_FFT, MEL_HOP_SAMPLES, window=self._hann, return_complex=True)
        power = spectrum[..., :-1].abs().square()
        log_spec = (self._filters @ power).clamp(min=1e-10).log10()
        floored = torch.maximum(log_spec, log_spec.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (floored + 4.0) / 4.0
