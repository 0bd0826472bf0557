"""Windows to turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whisper_server.diarization.local_voices import LocalVoices, Stretches
from whisper_server.diarization.nets import N_FRAMES, N_LOCAL_VOICES, N_VALUES, Activity
from whisper_server.diarization.timeline import turns_of

FRAME_S = 270 / 16_000


def one_window(*spans: tuple[int, float, float]) -> LocalVoices:
    """Ten seconds in which (voice, start, end) speak, each a stretch."""
    activity: Activity = np.zeros((N_FRAMES, N_LOCAL_VOICES), np.bool_)
    frames = [(round(start_s / FRAME_S), round(end_s / FRAME_S)) for _, start_s, end_s in spans]
    for (voice, _, _), (first, stop) in zip(spans, frames, strict=True):
        activity[first:stop, voice] = True
    voices = sorted({voice for voice, _, _ in spans})
    return LocalVoices(
        160_000,
        [activity],
        np.zeros(len(voices), np.int64),
        np.array(voices),
        np.zeros((len(voices), N_VALUES), np.float32),
        np.ones(len(voices)),
        Stretches(
            np.array([voices.index(voice) for voice, _, _ in spans], np.int64),
            np.array(frames, np.int64).reshape(-1, 2),
            np.zeros((len(spans), N_VALUES), np.float32),
        ),
    )


def turns(found: LocalVoices, *of_stretch: int) -> list[tuple[float, float, str]]:
    n_speakers = max(of_stretch) + 1
    return [
        (round(one.start_s, 1), round(one.end_s, 1), one.speaker)
        for one in turns_of(found, np.array(of_stretch), n_speakers)
    ]


def test_overlap_is_kept() -> None:
    assert turns(one_window((0, 1, 4), (1, 3, 6)), 0, 1) == [(1.0, 4.0, "0"), (3.0, 6.0, "1")]


def test_short_pause_belongs_to_the_turn_and_a_long_one_ends_it() -> None:
    assert turns(one_window((0, 1, 2), (0, 2.4, 4), (0, 5, 6)), 0, 0, 0) == [(1.0, 4.0, "0"), (5.0, 6.0, "0")]


def test_turn_ends_with_the_recording() -> None:
    found = one_window((0, 1, 9.9))
    cut = replace(found, n_samples=80_000)
    assert turns(cut, 0) == [(1.0, 5.0, "0")]


def test_voice_that_is_two_people_is_cut() -> None:
    assert turns(one_window((0, 1, 3), (0, 3.5, 6)), 0, 1) == [(1.0, 3.0, "0"), (3.5, 6.0, "1")]


@pytest.mark.parametrize("n_speakers", [0, 1])
def test_silence_has_no_turns(n_speakers: int) -> None:
    assert turns_of(one_window(), np.empty(0, np.int64), n_speakers) == ()
