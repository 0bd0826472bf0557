"""Cuts fall into pauses, and windows tile the recording without silent or very short windows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from speech_kit.recordings import join
from speech_kit.sentences import LANGUAGES, spoken
from speech_kit.sounds import mains_hum, silence, tone, white_noise, with_noise
from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.windows import (
    Window,
    cut,
    cut_by_speech,
    has_long_pause,
    split_after_pauses,
)
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

RATE = SAMPLE_RATE_HZ


def assert_tiled(windows: tuple[Window, ...], samples: Samples, max_s: float = 30.0) -> None:
    assert windows[0].start_sample == 0
    assert windows[-1].end_sample == len(samples)
    assert all(left.end_sample == right.start_sample for left, right in pairwise(windows))
    assert all(0 < window.n_samples <= max_s * RATE for window in windows)
    if len(windows) > 1:
        assert min(window.duration_s for window in windows) >= min(2.0, max_s / 4)


def beeps(*spans_s: tuple[float, float], duration_s: float) -> Samples:
    """A tone in every span, over faint noise."""
    samples = white_noise(duration_s, rms=0.001)
    for start_s, end_s in spans_s:
        start = round(start_s * RATE)
        sound = tone(end_s - start_s)
        samples[start : start + len(sound)] += sound
    return samples


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("snr_db", [None, 10.0])
def test_cuts_of_speech_fall_between_sentences(language: str, snr_db: float | None) -> None:
    utterances = [spoken(language, index) for index in range(40)]
    recording = join(utterances, pause_s=(0.3, 2.0), seed=1)
    samples = recording.samples if snr_db is None else with_noise(recording.samples, snr_db=snr_db)

    windows = cut(samples)

    assert_tiled(windows, samples)
    assert len(windows) <= recording.duration_s / 30 * 1.25 + 1
    for window in windows[:-1]:
        assert not any(
            start_s < window.end_s < start_s + utterance.duration_s
            for start_s, utterance in zip(recording.starts_s, utterances, strict=True)
        ), f"{window.end_s:.2f} s is inside a sentence"


def test_cut_is_in_middle_of_pause() -> None:
    samples = beeps((0, 25.0), (25.6, 40), duration_s=40)
    assert [window.end_s for window in cut(samples)] == [pytest.approx(25.3, abs=0.03), 40]


def test_long_pause_wins_over_later_short_pause() -> None:
    samples = beeps((0, 22.0), (23.2, 27.0), (27.1, 70), duration_s=70)
    assert cut(samples)[0].end_s == pytest.approx(22.7, abs=0.05)


def test_pause_in_middle_third_wins_over_dip_in_word() -> None:
    samples = beeps((0, 17.0), (18.0, 26.0), (26.06, 70), duration_s=70)
    assert cut(samples)[0].end_s == pytest.approx(17.5, abs=0.05)


def test_last_two_windows_are_halved_at_a_pause() -> None:
    samples = beeps((0, 15.0), (15.5, 29.0), (29.5, 31), duration_s=31)
    assert [window.duration_s for window in cut(samples)] == pytest.approx([15.25, 15.75], abs=0.05)


def test_pause_at_30_s_splits_60_s_into_two_windows() -> None:
    samples = beeps((0, 29.7), (30.3, 60), duration_s=60)
    assert [window.duration_s for window in cut(samples)] == [30.0, 30.0]


@pytest.mark.parametrize("n_windows", [1, 2, 3, 4])
def test_multiples_of_30_s_of_silence_give_no_extra_window(n_windows: int) -> None:
    samples = silence(30 * n_windows)
    windows = cut(samples)
    assert_tiled(windows, samples)
    assert len(windows) == n_windows


@pytest.mark.parametrize("sound", [silence, white_noise, tone, mains_hum])
@pytest.mark.parametrize("duration_s", [0.1, 29.9, 30.0, 30.0001, 30.3, 59.9, 60, 60.2, 61.5, 90, 90.1, 125])
def test_any_sound_of_any_length_is_tiled_without_slivers(sound: Callable[[float], Samples], duration_s: float) -> None:
    samples = sound(duration_s)
    windows = cut(samples)
    assert_tiled(windows, samples)
    assert len(windows) <= duration_s // 26 + 1


@pytest.mark.parametrize("max_s", [1.0, 1.7, 5, 29.99])
def test_windows_are_no_longer_than_requested(max_s: float) -> None:
    samples = join([spoken("en", index) for index in range(4)]).samples
    assert_tiled(cut(samples, max_s), samples, max_s)


@pytest.mark.parametrize("max_s", [0, 0.99, 30.01, -5, float("nan")])
def test_window_length_that_no_model_takes_is_refused(max_s: float) -> None:
    with pytest.raises(ValueError, match="1 to 30 seconds"):
        cut(silence(1), max_s)


def test_empty_recording_has_no_window() -> None:
    assert cut(silence(0)) == ()
    assert cut_by_speech(silence(0), ()) == ()


def test_nan_samples_are_tiled() -> None:
    samples = np.full(RATE * 70, np.nan, np.float32)
    assert_tiled(cut(samples), samples)


def test_memory_does_not_grow_with_the_recording() -> None:
    samples = np.broadcast_to(np.float32(0.1), (4 * 3600 * RATE,))  # four hours in four bytes
    tracemalloc.start()
    windows = cut(samples)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) == 480
    assert peak_bytes < 32 * 2**20


def spans(*spans_s: tuple[float, float]) -> list[tuple[int, int]]:
    return [(round(start_s * RATE), round(end_s * RATE)) for start_s, end_s in spans_s]


def times(windows: tuple[Window, ...]) -> list[tuple[float, float]]:
    return [(window.start_s, window.end_s) for window in windows]


def test_windows_follow_speech_and_omit_long_silence() -> None:
    windows = cut_by_speech(silence(100), spans((3, 5), (6, 9), (40, 42)))
    assert times(windows) == [(3, 9), (40, 42)]


def test_speech_is_merged_up_to_max_window() -> None:
    windows = cut_by_speech(silence(100), spans((0, 14), (15, 29), (30, 44), (45, 61)))
    assert times(windows) == [(0, 29), (30, 44), (45, 61)]


def test_speech_longer_than_window_is_cut_in_its_pause() -> None:
    samples = beeps((10, 32), (32.6, 60), duration_s=70)
    windows = cut_by_speech(samples, spans((10, 60)))
    assert windows[0].start_s == 10
    assert windows[0].end_s == pytest.approx(32.3, abs=0.05)
    assert times(windows)[1:] == [(windows[0].end_s, 60)]


def test_overlapping_spans_repeat_no_samples() -> None:
    windows = cut_by_speech(silence(12), spans((0, 3), (2, 4), (7, 20), (25, 30)))
    assert times(windows) == [(0, 4), (7, 12)]


def test_no_speech_makes_no_window() -> None:
    assert cut_by_speech(silence(10), ()) == ()


@pytest.mark.parametrize(
    ("spans_s", "expected"),
    [
        ([(0, 4), (9, 13), (18, 20)], False),
        ([(0, 4), (11, 20)], True),
        ([(7, 15), (19, 20)], True),
        ([(0, 13)], True),
    ],
)
def test_long_pauses_are_found(spans_s: list[tuple[float, float]], expected: bool) -> None:
    assert has_long_pause(AudibleFrames(beeps(*spans_s, duration_s=20))) is expected


def test_pause_with_noise_is_found() -> None:
    assert has_long_pause(AudibleFrames(with_noise(beeps((9, 12), duration_s=20), snr_db=15)))


@pytest.mark.parametrize("samples", [silence(30), white_noise(30, rms=0.05), mains_hum(30), silence(0), silence(3)])
def test_uniform_sound_has_no_pause(samples: Samples) -> None:
    assert not has_long_pause(AudibleFrames(samples))


def test_window_is_split_before_speech_after_long_pause() -> None:
    window = Window(100 * RATE, 130 * RATE)
    windows = split_after_pauses(window, spans((7, 9), (13, 14), (22, 24)))
    assert times(windows) == [(100, 107), (107, 122), (122, 130)]
    assert split_after_pauses(window, spans((5, 7), (12, 13))) == (window,)
    assert split_after_pauses(window, ()) == (window,)
