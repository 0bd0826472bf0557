"""Segments hold all text, in order and within the window, for timestamp tokens in any order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_kit.sounds import silence, tone
from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.timestamps import TokenSpan, split_segments, start_with_sound, start_with_speech
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

FIRST_TIMESTAMP = 1000


def timestamp_s(token: int) -> float | None:
    return (token - FIRST_TIMESTAMP) / 10 if token >= FIRST_TIMESTAMP else None


def started(
    spans: list[TokenSpan], samples: Samples, first_speech: Callable[[Samples], int | None]
) -> tuple[TokenSpan, ...]:
    with_sound, slow = start_with_sound(spans, AudibleFrames(samples))
    return start_with_speech(with_sound, slow, samples, first_speech)


def at(time_s: float) -> int:
    return FIRST_TIMESTAMP + round(time_s * 10)


def split(*tokens: int, duration_s: float = 30.0) -> list[tuple[int, int, float, float]]:
    spans = split_segments(tokens, timestamp_s, duration_s)
    return [(span.first, span.end, span.start_s, span.end_s) for span in spans]


def test_pairs_of_timestamps_delimit_segments() -> None:
    tokens = (at(0.5), 1, 2, at(2), at(3), 3, at(4))
    assert split(*tokens) == [(0, 4, 0.5, 2.0), (4, 7, 3.0, 4.0)]


def test_last_segment_without_end_is_kept() -> None:
    assert split(at(0), 1, at(2), at(2.5), 2, duration_s=7.5) == [(0, 3, 0.0, 2.0), (3, 5, 2.5, 7.5)]


def test_text_before_first_timestamp_starts_with_window() -> None:
    assert split(1, 2, at(2)) == [(0, 3, 0.0, 2.0)]


def test_text_without_timestamps_spans_window() -> None:
    assert split(1, 2, duration_s=4.0) == [(0, 2, 0.0, 4.0)]


def test_timestamps_without_text_make_no_segment() -> None:
    assert split() == []
    assert split(at(0), at(5), at(6)) == []


def test_single_timestamp_separates_two_segments() -> None:
    assert split(at(0), 1, at(2), 2, at(4)) == [(0, 3, 0.0, 2.0), (3, 5, 2.0, 4.0)]


def test_times_never_decrease_nor_leave_window() -> None:
    assert split(at(3), 1, at(1), at(0), 2, at(99), duration_s=6.0) == [(0, 3, 3.0, 3.0), (3, 6, 3.0, 6.0)]


@given(st.lists(st.one_of(st.integers(1, 9), st.integers(1000, 1350)), max_size=40), st.floats(0.1, 30))
def test_segments_are_valid_for_any_order_of_tokens(tokens: list[int], duration_s: float) -> None:
    spans: tuple[TokenSpan, ...] = split_segments(tokens, timestamp_s, duration_s)

    text = [token for token in tokens if token < 1000]
    assert [token for span in spans for token in tokens[span.first : span.end] if token < 1000] == text
    assert all(0 <= span.start_s <= span.end_s <= duration_s for span in spans)
    assert all(left.end_s <= right.start_s and left.end == right.first for left, right in pairwise(spans))
    assert all(any(token < 1000 for token in tokens[span.first : span.end]) for span in spans)


def heard_at(speech_s: float) -> Callable[[Samples], int | None]:
    """A voice detector that hears speech so many seconds after the start of what it gets."""
    return lambda samples: round(speech_s * SAMPLE_RATE_HZ) if len(samples) else None


@pytest.mark.parametrize(("lead_s", "start_s"), [(2.85, 2.85), (0.4, 0.4), (0.2, 0.0)])
def test_segment_begins_with_its_sound(lead_s: float, start_s: float) -> None:
    samples = np.concatenate([silence(lead_s), tone(1.0), silence(1.0)])
    (span,) = started([TokenSpan(0, 3, 0.0, 4.0)], samples, heard_at(0.0))
    assert span.start_s == pytest.approx(start_s, abs=0.02)
    assert span.end_s == 4.0


@pytest.mark.parametrize(("n_tokens", "speech_s", "start_s"), [(5, 1.8, 2.8), (5, 0.9, 1.0), (8, 1.8, 1.0)])
def test_slow_segment_after_music_begins_with_its_speech(n_tokens: int, speech_s: float, start_s: float) -> None:
    (span,) = started([TokenSpan(0, n_tokens, 1.0, 4.0)], tone(5.0), heard_at(speech_s))
    assert span.start_s == pytest.approx(start_s, abs=0.001)
    assert (span.first, span.end, span.end_s) == (0, n_tokens, 4.0)


def test_segment_in_which_the_detector_hears_nothing_keeps_its_start() -> None:
    span = TokenSpan(0, 3, 1.0, 4.0)
    assert started([span], tone(5.0), lambda _samples: None) == (span,)


def test_segment_without_sound_keeps_its_start() -> None:
    span = TokenSpan(0, 3, 2.0, 3.0)
    assert started([span], np.concatenate([tone(1.0), silence(3.0)]), heard_at(0.5)) == (span,)
