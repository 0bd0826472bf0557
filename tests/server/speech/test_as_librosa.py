"""Features, mel filters and loudness are librosa's.

Apart from the other tests of both: librosa is compiled at its first use on a machine, 28 CPU s, and a file is one process's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from speech_kit.compiled_librosa import librosa
from speech_kit.recordings import MEL_SOUNDS
from speech_kit.sentences import spoken
from speech_kit.sounds import silence, tone, white_noise
from whisper_server.speech.windows import _loudness_db
from whisper_server.whisper.mel import LogMel, mel_filters
from whisper_server.whisper.transcript import Samples

N_FFT, HOP, RATE_HZ, N_WINDOW = 400, 160, 16_000, 480_000


def features_by_librosa(samples: Samples, n_mels: int) -> npt.NDArray[np.float32]:
    padded = np.zeros(N_WINDOW, np.float32)
    padded[: len(samples)] = samples
    spectrum = librosa.stft(padded, n_fft=N_FFT, hop_length=HOP, window="hann", pad_mode="reflect")[:, :-1]
    log_spec = np.log10(np.maximum(filters_by_librosa(n_mels) @ (spectrum.real**2 + spectrum.imag**2), 1e-10))
    features: npt.NDArray[np.float32] = (np.maximum(log_spec, log_spec.max() - 8) + 4) / 4
    return features


def filters_by_librosa(n_mels: int) -> npt.NDArray[np.float32]:
    filters: npt.NDArray[np.float32] = librosa.filters.mel(sr=RATE_HZ, n_fft=N_FFT, n_mels=n_mels, dtype=np.float32)
    return filters


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filter_file_holds_filters_of_librosa(n_mels: int) -> None:
    np.testing.assert_array_equal(mel_filters(n_mels), filters_by_librosa(n_mels))


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("sound", MEL_SOUNDS)
def test_features_equal_librosa_within_1e_6(sound: str, n_mels: int) -> None:
    samples = MEL_SOUNDS[sound]()
    np.testing.assert_allclose(LogMel(n_mels)(samples), features_by_librosa(samples, n_mels), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "samples", [spoken("en", 0).samples, white_noise(30.5), tone(1.0), silence(3.0), white_noise(0.04)]
)
def test_loudness_equals_librosa_within_1e_6(samples: Samples) -> None:
    rms = librosa.feature.rms(y=samples, frame_length=640, hop_length=160, center=False)[0]
    np.testing.assert_allclose(10 ** (_loudness_db(samples) / 20), np.maximum(rms, 1e-5), rtol=0, atol=1e-6)
