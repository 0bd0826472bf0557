"""Filter banks beside Kaldi's own code, whose values for a fixed sound are kept here (kaldi-native-fbank 1.23)."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_server.diarization.fbank import FilterBank

KALDIS = {  # every eighth band of a frame
    0: [15.1835, 19.771, 9.1011, 4.7662, 2.2037, -0.0226, -1.7528, -3.2485, -4.6551, -5.9625],
    20: [10.4492, 5.2371, 5.9582, 10.5185, 24.0998, 11.2831, 6.1347, 3.322, 1.1098, -0.8418],
    47: [4.5999, 2.1552, 2.776, 3.1017, 4.4845, 7.3077, 13.3952, 13.7031, 6.441, 3.2841],
}


@pytest.mark.parametrize("frame", KALDIS)
def test_features_are_kaldis(frame: int) -> None:
    time_s = np.arange(8_000) / 16_000
    sweep = (0.3 * np.sin(2 * np.pi * (100 + 3_000 * time_s) * time_s)).astype(np.float32)
    features = FilterBank().features(sweep)
    assert features.shape == (48, 80)
    # Both compute in float32, whose rounding shows where next to nothing is left.
    assert features[frame, ::8] == pytest.approx(KALDIS[frame], abs=0.02)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 0), (399, 0), (400, 1), (560, 2)])
def test_frames_are_whole(n_samples: int, n_frames: int) -> None:
    assert FilterBank().features(np.zeros(n_samples, np.float32)).shape == (n_frames, 80)
