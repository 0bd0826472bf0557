"""A signal that can be told apart from any other, from itself moved in time, and from itself cut off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float32]


def sweep(duration_s: float, rate_hz: int, *, n_channels: int = 1, from_s: float = 0.0) -> Signal:
    """Shape (n_frames, n_channels): a tone that rises 250 Hz a second, from 200 Hz to 2.2 kHz and round again, beating
    three times a second. The second channel has half the loudness of the first."""
    time_s = from_s + np.arange(round(duration_s * rate_hz)) / rate_hz
    turn_s = time_s % 8
    phase = 2 * np.pi * (200 * turn_s + 125 * turn_s**2)
    loudness = 0.3 + 0.2 * np.sin(2 * np.pi * 3 * time_s)
    mono = (loudness * np.sin(phase)).astype(np.float32)
    gains = np.array([1.0, 0.5, 0.25, 0.125, 0.75, 0.1])[:n_channels]
    return np.asarray(mono[:, None] * gains, np.float32)


def expected(duration_s: float, *, n_channels: int = 1, from_s: float = 0.0) -> Signal:
    """What `sweep` must be decoded to: mono at 16 kHz."""
    mono: Signal = sweep(duration_s, 16_000, n_channels=n_channels, from_s=from_s).mean(axis=1)
    return mono


def best_match(heard: Signal, wanted: Signal, *, max_shift_s: float = 0.06) -> tuple[float, float, float]:
    """(correlation, shift in seconds, gain) where `heard` fits `wanted` best."""
    max_shift = round(max_shift_s * 16_000)
    n = min(len(heard), len(wanted))
    padded = np.concatenate([np.zeros(max_shift), heard[: n + max_shift], np.zeros(max_shift)])
    size = 1 << int(np.ceil(np.log2(len(padded) + n)))
    products = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(wanted[:n], size)), size)
    shift = int(np.argmax(products[: 2 * max_shift + 1]))
    there = padded[shift : shift + n]
    correlation = float(there @ wanted[:n] / (np.linalg.norm(there) * np.linalg.norm(wanted[:n]) + 1e-12))
    gain = float(there @ wanted[:n] / (wanted[:n] @ wanted[:n]))
    return correlation, (shift - max_shift) / 16_000, gain
