"""The features equal librosa's, and openai/whisper's, whose definition is written out here in numpy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from speech_kit.recordings import MEL_SOUNDS
from speech_kit.sounds import white_noise
from whisper_server.whisper.mel import LogMel, mel_filters
from whisper_server.whisper.transcript import Samples

Matrix = npt.NDArray[np.float64]
N_FFT, HOP, RATE_HZ, N_WINDOW = 400, 160, 16_000, 480_000


def mel_of_hz(frequency_hz: Matrix) -> Matrix:
    """Slaney's scale: linear up to 1 kHz, logarithmic above."""
    linear = frequency_hz * 3 / 200
    return np.where(frequency_hz < 1000, linear, 15 + 27 * np.log(np.maximum(frequency_hz, 1) / 1000) / np.log(6.4))


def hz_of_mel(mel: Matrix) -> Matrix:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def triangles(n_mels: int) -> Matrix:
    """Triangles in equal steps of mel from 0 to 8 kHz, each of area 1."""
    corners = hz_of_mel(np.linspace(0, mel_of_hz(np.array(8000.0)), n_mels + 2))
    bins_hz = np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT
    filters = np.zeros((n_mels, len(bins_hz)))
    for index in range(n_mels):
        low, centre, high = corners[index : index + 3]
        rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
        filters[index] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return filters


def reference(samples: Samples, n_mels: int) -> Matrix:
    padded = np.zeros(N_WINDOW)
    padded[: len(samples)] = samples
    around = np.pad(padded, N_FFT // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(around, N_FFT)[::HOP][: N_WINDOW // HOP]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    log_spec = np.log10(np.maximum(triangles(n_mels) @ power.T, 1e-10))
    features: Matrix = (np.maximum(log_spec, log_spec.max() - 8) + 4) / 4
    return features


def test_other_number_of_bands_is_refused() -> None:
    with pytest.raises(ValueError, match=r"64 bands, only mel_80, mel_128"):
        mel_filters(64)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("sound", MEL_SOUNDS)
def test_features_equal_openai_whisper(sound: str, n_mels: int) -> None:
    samples = MEL_SOUNDS[sound]()
    features = LogMel(n_mels)(samples)
    assert features.shape == (n_mels, 3000)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, reference(samples, n_mels), atol=2e-3)


def test_log_mel_is_thread_safe() -> None:
    log_mel = LogMel(80)
    sounds = [white_noise(5.0, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as executor:
        at_once = list(executor.map(log_mel, sounds))
    for features, sound in zip(at_once, sounds, strict=True):
        np.testing.assert_array_equal(features, log_mel(sound))
