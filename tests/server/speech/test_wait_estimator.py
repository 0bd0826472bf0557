"""The expected wait follows recent throughput and ignores idle time."""

from __future__ import annotations

import pytest

from whisper_server.speech.wait_estimator import WaitEstimator

ME, ONE = "me", "request"
MANY = 1000
"""Of a request that is longer than all others: all of their windows come before its last."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def measured(interval_s: float, n_windows: int = 60) -> tuple[WaitEstimator, Clock]:
    clock = Clock()
    estimator = WaitEstimator(clock)
    estimator.add(ME, ONE, n_windows)
    for _ in range(n_windows):
        clock.now_s += interval_s
        estimator.finish(ME, ONE)
    return estimator, clock


def test_wait_is_0_before_first_measurement() -> None:
    estimator = WaitEstimator(Clock())
    estimator.add(ME, ONE, 10)
    assert (estimator.n_open, estimator.wait_s(ME, MANY)) == (10, 0.0)


def test_wait_covers_all_open_windows() -> None:
    estimator, _ = measured(0.5)
    assert estimator.wait_s(ME, MANY) == 0
    estimator.add(ME, ONE, 8)
    assert estimator.wait_s(ME, MANY) == pytest.approx(4.0)
    estimator.add(ME, ONE, -3)
    assert estimator.n_open == 5
    assert estimator.wait_s(ME, MANY) == pytest.approx(2.5)


def test_idle_time_does_not_count() -> None:
    estimator, clock = measured(0.5)
    clock.now_s += 3600
    estimator.add(ME, ONE, 1)
    clock.now_s += 0.5
    estimator.finish(ME, ONE)
    estimator.add(ME, ONE, 2)
    assert estimator.wait_s(ME, MANY) == pytest.approx(1.0)


def test_throughput_change_shows_within_about_20_windows() -> None:
    estimator, clock = measured(0.5)
    estimator.add(ME, ONE, 25)
    for _ in range(24):
        clock.now_s += 2.0
        estimator.finish(ME, ONE)
    assert 1.7 < estimator.wait_s(ME, MANY) < 2.0


def test_windows_of_one_batch_share_its_duration() -> None:
    clock = Clock()
    estimator = WaitEstimator(clock)
    for n_batches in range(1, 12):
        estimator.add(ME, ONE, 8)
        clock.now_s += 4.0
        for _ in range(8):
            clock.now_s += 0.0001
            estimator.finish(ME, ONE)
        estimator.add(ME, ONE, 16)
        assert estimator.wait_s(ME, MANY) == pytest.approx(8.0, rel=0.02), f"after {n_batches} batches"
        estimator.drop(ME, ONE)


def test_newcomer_waits_for_one_window_of_each_other_owner() -> None:
    estimator, _ = measured(0.5)
    estimator.add("long", 1, 480)
    estimator.add("other", 2, 480)
    assert estimator.wait_s("new") == pytest.approx(1.0), "two windows, not 960"
    assert estimator.wait_s("new", 480) == pytest.approx(480.0)
    assert estimator.wait_s("long") == pytest.approx(1.5), "one of the request that it has, two turns of the other's"


def test_windows_that_run_come_before_a_newcomer() -> None:
    clock = Clock()
    estimator = WaitEstimator(clock, n_parallel=16)
    estimator.add("long", 1, 480)
    for _ in range(60):
        clock.now_s += 0.5
        estimator.finish("long", 1)
    assert estimator.wait_s("new") == pytest.approx(16 * 0.5)


def test_time_of_a_single_window_says_nothing_about_a_long_recording() -> None:
    clock = Clock()
    estimator = WaitEstimator(clock, n_parallel=8)
    for _ in range(30):
        estimator.add(ME, ONE, 1)
        clock.now_s += 3.0
        estimator.finish(ME, ONE)
    assert estimator.work_s(480) == 0, "not known"
    estimator.add(ME, ONE, 480)
    for _ in range(60):
        clock.now_s += 0.5
        estimator.finish(ME, ONE)
    assert estimator.work_s(480) == pytest.approx(240)
