"""From slots of the shared memory to the encoder's hidden states: samples, log-mel features, encoder.

All of it runs on the device of the model, a batch of windows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import WhisperConfig
from transformers.audio_utils import mel_filter_bank

from whisper_server.engines.vllm.shared_audio import SharedAudioPool
from whisper_server.engines.vllm.worker.cuda_graphs import GraphedEncoder
from whisper_server.engines.vllm.worker.pinned_memory import pin, to_device
from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_FFT, N_WINDOW_SAMPLES, SAMPLE_RATE_HZ


class WindowEncoder:
    """Encodes windows from shared memory, up to `max_windows` in one batch."""

    def __init__(
        self, encoder: torch.nn.Module, config: WhisperConfig, audio_pool: SharedAudioPool, max_windows: int
    ) -> None:
        """`encoder` is vLLM's WhisperEncoder."""
        weight = encoder.conv1.weight
        self._max_windows = max_windows
        self._dtype = weight.dtype
        self._samples = SharedSamples(audio_pool, weight.device)
        self._log_mel = BatchLogMel(config.num_mel_bins, weight.device)
        self._encode: Callable[[torch.Tensor], torch.Tensor]
        if weight.is_cuda:
            self._encode = GraphedEncoder(encoder, config.encoder_attention_heads, max_windows)
        else:
            # A list of one batch: vLLM's encoder would run its first layers on one window after the other.
            self._encode = lambda features: encoder([features])

    @torch.inference_mode()
    def __call__(self, slots: Sequence[int], scales: Sequence[float]) -> list[torch.Tensor]:
        """Hidden states of each window, (1500, width), valid until the next call."""
        states: list[torch.Tensor] = []
        for first in range(0, len(slots), self._max_windows):
            batch = slice(first, first + self._max_windows)
            features = self._log_mel(*self._samples.load(slots[batch], scales[batch]))
            encoded = self._encode(features.to(self._dtype))
            # Cloned where a second batch would overwrite the first.
            states += (encoded.clone() if len(slots) > self._max_windows else encoded).unbind(0)
        return states


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
