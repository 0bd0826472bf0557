"""Voiceprints to speakers, on made-up voices: directions in space with noise around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from whisper_server.diarization.clustering import MAX_CLUSTERED, SpeakerCount, speakers_of
from whisper_server.diarization.known_voices import matches, n_voices, telephone_band
from whisper_server.diarization.local_voices import LocalVoices, Stretches
from whisper_server.diarization.nets import N_FRAMES, N_LOCAL_VOICES, N_VALUES, unit

SILENCE = np.zeros((N_FRAMES, N_LOCAL_VOICES), np.bool_)


def found(speakers: list[list[int]]) -> LocalVoices:
    """Windows with the speakers of each list in them, who speak all the time."""
    rng = np.random.default_rng(1)
    centers = unit(rng.standard_normal((8, N_VALUES)))
    flat = [speaker for window in speakers for speaker in window]
    prints = unit(centers[flat] + 0.45 * unit(rng.standard_normal((len(flat), N_VALUES)))) if flat else centers[:0]
    return LocalVoices(
        n_samples=len(speakers) * 40_000 + 120_000,
        activities=[SILENCE] * len(speakers),
        windows=np.array([index for index, window in enumerate(speakers) for _ in window], np.int64),
        voices=np.array([voice for window in speakers for voice, _ in enumerate(window)], np.int64),
        voiceprints=prints,
        speech_s=np.full(len(flat), 4.0),
        stretches=Stretches(np.arange(len(flat)), np.tile([0, N_FRAMES], (len(flat), 1)), prints),
    )


def same(labels: npt.NDArray[np.int64], truth: list[int]) -> bool:
    """Equal but for the numbers."""
    return len(set(zip(labels.tolist(), truth, strict=True))) == len(set(truth)) == len(set(labels.tolist()))


@pytest.mark.parametrize("n_speakers", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("n_windows", [24, 120])
def test_number_of_speakers_is_found(n_speakers: int, n_windows: int) -> None:
    windows = [[index % n_speakers] for index in range(n_windows)]
    speakers = speakers_of(found(windows), SpeakerCount())
    assert same(speakers.of_stretch, [one for window in windows for one in window])


@pytest.mark.parametrize(
    ("count", "expected"),
    [(SpeakerCount(exact=2), 2), (SpeakerCount(most=2), 2), (SpeakerCount(least=2), 3), (SpeakerCount(), 3)],
)
def test_number_that_is_given_is_kept(count: SpeakerCount, expected: int) -> None:
    speakers = speakers_of(found([[index % 3] for index in range(60)]), count)
    assert len(set(speakers.of_stretch.tolist())) == expected


def test_moment_of_another_voice_is_no_speaker() -> None:
    windows = [[0] for _ in range(30)] + [[1]]
    assert set(speakers_of(found(windows), SpeakerCount()).of_stretch.tolist()) == {0}


def test_hours_are_clustered_by_a_part_of_the_windows() -> None:
    windows = [[index % 2] for index in range(2 * MAX_CLUSTERED + 10)]
    speakers = speakers_of(found(windows), SpeakerCount())
    assert same(speakers.of_stretch, [one for window in windows for one in window])


def test_stretch_of_another_speaker_than_its_voice_is_seen() -> None:
    mixed = found([[index % 2] for index in range(40)])
    prints = mixed.voiceprints.copy()
    prints[6] = prints[1]
    speakers = speakers_of(replace(mixed, stretches=replace(mixed.stretches, voiceprints=prints)), SpeakerCount())
    assert same(speakers.of_stretch, [index % 2 if index != 6 else 1 for index in range(40)])


def test_silence_has_no_speakers() -> None:
    assert len(speakers_of(found([[], []]), SpeakerCount()).voiceprints) == 0


def test_reference_of_two_voices_is_seen() -> None:
    assert [n_voices(found([voices])) for voices in ([], [0], [0, 1])] == [0, 1, 2]


def test_unknown_voice_is_no_known_speaker() -> None:
    rng = np.random.default_rng(3)
    voices = unit(rng.standard_normal((3, N_VALUES)))
    assert matches(voices[:2], [voices[1:2], voices[2:]]) == ((1, 0),)


def test_voice_is_known_by_the_voiceprint_of_its_channel() -> None:
    rng = np.random.default_rng(4)
    speakers = unit(rng.standard_normal((2, N_VALUES)))
    as_sent = unit(rng.standard_normal((1, N_VALUES)))
    assert matches(speakers, [np.concatenate([as_sent, speakers[1:]])]) == ((1, 0),)


def test_pair_that_is_no_match_does_not_take_the_place_of_one() -> None:
    speakers = unit(np.eye(3, N_VALUES, dtype=np.float32))
    best, second = unit(speakers[:1] + 0.45 * speakers[1:2]), unit(0.7 * speakers[:1] - 0.7 * speakers[1:2])
    assert matches(speakers[:2], [best, second]) == ((0, 0),)


def test_telephone_has_no_high_frequencies() -> None:
    time_s = np.arange(16_000) / 16_000
    low, high = (np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (1000, 5000))
    np.testing.assert_allclose(telephone_band(low + high), low, atol=1e-3)
