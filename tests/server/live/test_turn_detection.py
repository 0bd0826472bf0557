"""Where speech starts and stops, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from whisper_server.live.turn_detection import SpeechSpans, SpeechStarted, SpeechStopped

FRAME = 512


def spans_of(prefix_ms: int = 64, silence_ms: int = 320, threshold: float = 0.5) -> SpeechSpans:
    return SpeechSpans(
        threshold=threshold, prefix_padding_ms=prefix_ms, silence_duration_ms=silence_ms, frame_samples=FRAME
    )


def marks(spans: SpeechSpans, probabilities: Iterable[float]) -> list[SpeechStarted | SpeechStopped]:
    return list(spans.add(probabilities))


def test_speech_starts_with_its_padding() -> None:
    assert marks(spans_of(), [0] * 10 + [0.9] * 4) == [SpeechStarted(8 * FRAME)]


def test_speech_stops_after_the_silence() -> None:
    found = marks(spans_of(), [0.9] * 8 + [0.0] * 20)
    assert found == [SpeechStarted(0), SpeechStopped(18 * FRAME, 8 * FRAME)]


def test_shorter_silence_does_not_stop_speech() -> None:
    assert len(marks(spans_of(), [0.9] * 8 + [0.0] * 9 + [0.9] * 8)) == 1


def test_single_loud_frame_is_no_speech() -> None:
    assert marks(spans_of(), [0, 0, 0, 0, 0.9, 0, 0, 0] + [0] * 20) == []


def test_quiet_syllable_before_a_short_silence_belongs_to_what_follows() -> None:
    """`en ligne` of a person: 0.53 to 0.60 for 0.3 s, then 0.1 s of silence."""
    found = marks(spans_of(silence_ms=100), [0] * 4 + [0.55] * 8 + [0.0] * 5 + [0.9] * 8)
    assert found == [SpeechStarted(2 * FRAME)]
    assert marks(spans_of(silence_ms=100), [0.55] * 8 + [0.0] * 16 + [0.9] * 8) == [SpeechStarted(22 * FRAME)]


def test_padding_does_not_reach_into_the_span_before() -> None:
    found = marks(spans_of(prefix_ms=320), [0.9] * 8 + [0.0] * 11 + [0.9] * 8)
    assert found[1:] == [SpeechStopped(18 * FRAME, 8 * FRAME), SpeechStarted(18 * FRAME)]


def test_probability_between_the_thresholds_does_not_stop_speech() -> None:
    assert len(marks(spans_of(), [0.9] * 8 + [0.4] * 30)) == 1


def test_silence_within_a_span_is_measured() -> None:
    spans = spans_of()
    marks(spans, [0.9] * 8 + [0.0] * 3)
    assert (spans.is_speaking, spans.silent_samples, spans.heard_until) == (True, 3 * FRAME, 8 * FRAME)


def test_highest_confidence_of_a_span_is_kept_until_it_ends() -> None:
    spans = spans_of()
    marks(spans, [0.0] * 4 + [0.6] * 4)
    assert spans.confidence == pytest.approx(0.6)
    marks(spans, [0.9] * 4 + [0.6] * 4)
    assert spans.confidence == pytest.approx(0.9)
    marks(spans, [0.0] * 20)
    assert spans.confidence == 0.0


def test_what_a_later_start_may_name_is_kept() -> None:
    spans = spans_of()
    marks(spans, [0.0] * 100)
    assert spans.keep_from == 98 * FRAME
    marks(spans, [0.6])
    assert (spans.may_speak, spans.keep_from) == (True, 98 * FRAME)


def test_after_a_reset_speech_starts_again() -> None:
    spans = spans_of()
    marks(spans, [0.9] * 8)
    spans.reset(0)
    assert marks(spans, [0.9] * 4) == [SpeechStarted(8 * FRAME)]
