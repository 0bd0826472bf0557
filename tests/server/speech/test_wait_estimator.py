"""The expected wait follows recent throughput and ignores idle time."""

from __future__ import annotations

import pytest

from whisper_server.speech.wait_estimator import WaitEstimator


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def measured(interval_s: float, n_windows: int = 60) -> tuple[WaitEstimator, Clock]:
    clock = Clock()
    estimator = WaitEstimator(clock)
    estimator.add(n_windows)
    for _ in range(n_windows):
        clock.now_s += interval_s
        estimator.finish()
    return estimator, clock


def test_wait_is_0_before_first_measurement() -> None:
    estimator = WaitEstimator(Clock())
    estimator.add(10)
    assert (estimator.n_open, estimator.wait_s()) == (10, 0.0)


def test_wait_covers_all_open_windows() -> None:
    estimator, _ = measured(0.5)
    assert estimator.wait_s() == 0
    estimator.add(8)
    assert estimator.wait_s() == pytest.approx(4.0)
    estimator.drop(3)
    assert estimator.n_open == 5
    assert estimator.wait_s() == pytest.approx(2.5)


def test_idle_time_does_not_count() -> None:
    estimator, clock = measured(0.5)
    clock.now_s += 3600
    estimator.add(1)
    clock.now_s += 0.5
    estimator.finish()
    estimator.add(2)
    assert estimator.wait_s() == pytest.approx(1.0)


def test_throughput_change_shows_within_about_20_windows() -> None:
    estimator, clock = measured(0.5)
    estimator.add(25)
    for _ in range(24):
        clock.now_s += 2.0
        estimator.finish()
    assert 1.7 < estimator.wait_s() < 2.0


def test_windows_of_one_batch_share_its_duration() -> None:
    clock = Clock()
    estimator = WaitEstimator(clock)
    for n_batches in range(1, 12):
        estimator.add(8)
        clock.now_s += 4.0
        for _ in range(8):
            clock.now_s += 0.0001
            estimator.finish()
        estimator.add(16)
        assert estimator.wait_s() == pytest.approx(8.0, rel=0.02), f"after {n_batches} batches"
        estimator.drop(16)
