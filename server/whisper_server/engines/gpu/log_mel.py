"""Log-mel features on the model's device, a batch of windows at a time, from the shared memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from whisper_server.engines.gpu.pinned_memory import pin, to_device
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_FFT, N_WINDOW_SAMPLES
from whisper_server.whisper.mel import mel_filters


class SharedSamples:
    """The shared memory as a tensor, pinned where the driver allows it: the GPU then fetches windows itself."""

    def __init__(self, audio_pool: SharedAudioPool, device: torch.device) -> None:
        self._samples = torch.from_numpy(audio_pool.samples)
        self._device = device
        if device.type == "cuda":
            pin(self._samples)

    def load(self, slots: Sequence[int], scales: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """16-bit samples (window, sample) and their scales (window), on the device."""
        samples = torch.empty((len(slots), self._samples.shape[1]), dtype=torch.int16, device=self._device)
        for row, slot in zip(samples, slots, strict=True):
            row.copy_(self._samples[slot], non_blocking=True)
        return samples, to_device(torch.tensor(scales, dtype=torch.float32), self._device)


class BatchLogMel:
    """Log-mel features of a batch of windows, (n_windows, n_mels, 3000).

    Follows `log_mel_spectrogram` of openai/whisper's `audio.py`, as `whisper_server.whisper.mel` does on the CPU.
    """

    def __init__(self, n_mels: int, device: torch.device) -> None:
        self._filters = torch.from_numpy(mel_filters(n_mels)).to(device)
        self._hann = torch.hann_window(N_FFT, device=device)

    def __call__(self, windows: Sequence[torch.Tensor] | torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Features of 16-bit samples, which need not be padded to 30 s."""
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
