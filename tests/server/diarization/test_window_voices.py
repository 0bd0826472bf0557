"""Where the voices of a window count."""

from __future__ import annotations

import numpy as np

from whisper_server.diarization.nets import N_FRAMES, N_LOCAL_VOICES, Activity
from whisper_server.diarization.window_voices import N_POSITIONS, VoiceWeights, weights_of

FRAME_S = 270 / 16_000
POSITION_S = 0.02


def voices(*spans: tuple[int, float, float]) -> list[VoiceWeights]:
    """Of a window in which (voice, start, end) speak."""
    activity: Activity = np.zeros((N_FRAMES, N_LOCAL_VOICES), np.bool_)
    for voice, start_s, end_s in spans:
        activity[round(start_s / FRAME_S) : round(end_s / FRAME_S), voice] = True
    return [*weights_of(activity)]


def counted_s(weights: np.ndarray | None) -> float:
    assert weights is not None
    assert weights.shape == (N_POSITIONS,)
    return round(float(weights.sum()) * POSITION_S, 1)


def test_voice_counts_where_it_speaks_alone() -> None:
    first, second = voices((0, 1, 4), (2, 3, 5))
    assert (first.voice, counted_s(first.weights)) == (0, 2.0)
    assert (second.voice, counted_s(second.weights)) == (2, 1.0)


def test_voice_that_is_never_alone_counts_wherever_it_speaks() -> None:
    _, second = voices((0, 1, 4), (1, 2, 3))
    assert counted_s(second.weights) == 1.0


def test_short_voice_counts_nowhere() -> None:
    assert [one.voice for one in voices((0, 1, 4), (1, 6, 6.3))] == [0]


def test_pause_parts_stretches_and_a_short_one_does_not() -> None:
    (voice,) = voices((0, 1, 2), (0, 2.2, 3), (0, 4, 5))
    assert [(round(one.first * FRAME_S, 1), round(one.stop * FRAME_S, 1)) for one in voice.stretches] == [
        (1, 3),
        (4, 5),
    ]
    assert [counted_s(one.weights) for one in voice.stretches] == [1.8, 1.0]


def test_short_stretch_has_no_weights() -> None:
    (voice,) = voices((0, 1, 2), (0, 4, 4.2))
    assert [one.weights is None for one in voice.stretches] == [False, True]
